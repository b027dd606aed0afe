//! The program `greenroom` over NATS.

use nats_tests::NatsServer;
use redis_tests::cli::{lines, listen, run, text};

#[actix_web::test]
async fn a_listener_prints_the_events_that_are_sent() {
    let server = NatsServer::start();
    let url = server.url();
    let listener = listen(&["room", "--count", "2", "--layer", &url, "--prefix", "shop"]).await;
    // Layers with different prefixes do not hear each other.
    let elsewhere = run(&["send", "room", "note", "--layer", &url], "").await;
    assert!(elsewhere.status.success(), "{elsewhere:?}");
    for number in ["1", "2"] {
        let fields = format!("{{\"number\": {number}}}");
        let sent = run(&["send", "room", "note", &fields, "--layer", &url, "--prefix", "shop"], "").await;
        // NATS does not say how many members there are.
        assert_eq!((sent.status.success(), text(&sent.stderr)), (true, "note room: sent\n".to_owned()));
    }
    let heard = lines(listener).await;
    assert_eq!(heard, ["{\"type\":\"note\",\"number\":1}", "{\"type\":\"note\",\"number\":2}"]);
}

#[actix_web::test]
async fn a_command_that_nats_cannot_do_is_one_error_line() {
    let server = NatsServer::start();
    let url = server.url();
    let cases: [(&[&str], &str); 3] = [
        (&["send", "room", "note", "--keys", "a-key"], "NATS has no encryption key"),
        (&["send", "room", "note", "--json"], "NATS has no serializer"),
        (&["send", "--channel", "jobs", "note"], "nobody receives from this channel"),
    ];
    for (arguments, says) in cases {
        let output = run(&[arguments, &["--layer", &url]].concat(), "").await;
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
}
