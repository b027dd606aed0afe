//! Answers that are lost: what is said of an event of which the log does not tell any more.

use std::{pin::pin, time::Duration};

use futures_util::future::join_all;
use greenroom::{LayerConfig, LayerError, history::History};
use integration_tests::history::Reader;

use super::{LogServer, Process};
use crate::faulty::{Proxy, Settings, eventually, group, note};

/// More events than the group keeps lose their answers. No sender is told that an event is not in the log if others have
/// heard it.
pub async fn what_fell_off_may_have_been_heard<S: LogServer>() {
    lose_answers::<S>(true).await;
}

/// The members of the sender's process do not get such an event as one of no log, so that none comes twice.
pub async fn what_fell_off_comes_once<S: LogServer>() {
    lose_answers::<S>(false).await;
}

/// How many events are sent at once.
const SENT: u64 = 12;
/// Is sent when all is well again.
const LAST: u64 = SENT + 1;

async fn lose_answers<S: LogServer>(must: bool) {
    let mut server = S::start();
    let port = server.process().port();
    let proxy = Proxy::start(port).await;
    let on = async |port| {
        let mut settings = Settings::new(port);
        settings.must = must;
        // One that was cut before would wait longer and longer until it comes back.
        settings.timeout = Duration::from_secs(10);
        let history = History::last(2).within(Duration::from_secs(60));
        Process::of(S::open(settings, LayerConfig::new().history("room*", history)).await)
    };
    let there = on(port).await;
    let mut witness = there.join("/room/").await;
    let mut unknown = 0;
    // It is cut in ever later places, until all answers have passed.
    for bytes in (1..).step_by(250) {
        let here = on(proxy.port()).await;
        let mut own = here.join("/room/").await;
        here.send([0]).await;
        assert_eq!((own.text().await, witness.text().await), ("0".to_owned(), "0".to_owned()));
        proxy.cut_after(bytes);
        let room = group("room");
        let mut sends = pin!(join_all((1..=SENT).map(|number| here.layer.group_send(&room, note(number)))));
        let early = tokio::select! {
            sent = &mut sends => Some(sent),
            () = eventually("it is cut", || proxy.has_cut()) => None,
        };
        let is_cut = proxy.has_cut();
        proxy.mend();
        let sent = match early {
            Some(sent) => sent,
            None => sends.await,
        };
        if is_cut {
            eventually("it is back", || here.layer.metrics().reconnected > 0).await;
        }
        here.send([LAST]).await;
        let (heard, own) = (heard_by(&mut witness).await, heard_by(&mut own).await);
        for (number, sent) in (1..).zip(sent) {
            match sent {
                Ok(()) => {}
                Err(LayerError::Unavailable(why)) if why.contains("nobody knows") => unknown += 1,
                Err(error) => assert!(!heard.contains(&number), "{bytes}: {number} was heard: {error:?}"),
            }
        }
        let is_once = own.iter().all(|number| own.iter().filter(|other| *other == number).count() == 1);
        assert!(is_once, "{bytes}: {own:?}");
        if !is_cut {
            break;
        }
    }
    assert!(unknown > 0, "no answer was lost behind which more has followed than is kept");
}

/// The numbers that a client hears up to the last one, without what it is told of gaps.
async fn heard_by(reader: &mut Reader) -> Vec<u64> {
    let mut heard = Vec::new();
    while heard.last() != Some(&LAST) {
        heard.extend(reader.text().await.parse::<u64>());
    }
    heard
}
