//! Names of channels and groups, and which process may receive from a channel.

use std::collections::HashSet;

use greenroom::{ChannelName, GroupName, LayerConfig, LayerError, NameError};

use crate::{
    Server,
    common::{Members, assert_holds, channel, group, next_note, note, on_thread, one, refusal},
};

/// Rule 1; `test_channel_and_group_name_validation`, `test_deprecated_valid_channel_name`,
/// `test_deprecated_valid_group_name`: every valid name can be used.
pub async fn rule_1_every_valid_name_works<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    for name in ["chat", "a.B-c_9", &"x".repeat(99)] {
        let (channel, group) = (channel(name), group(name));
        layer.group_add(&group, &channel).await.unwrap();
        layer.send(&channel, note(1)).await.unwrap();
        layer.group_send(&group, note(2)).await.unwrap();
        assert_holds(&layer, &channel, &[1, 2]).await;
    }
}

/// Rules 1 and 2; `test_reject_bad_channel`, `test_channel_name_length_error_message`, `test_group_name_length_error_message`.
///
/// A name is checked when it is made, so a layer never sees a bad one. Only the prefix of a new channel is an exception.
pub async fn rule_1_bad_names_are_refused<S: Server>() {
    for name in ["", "=+135!", "¯\\_(ツ)_/¯", "chat\n", "٣", "a!b!c"] {
        assert!(ChannelName::new(name).is_err(), "{name:?}");
        assert!(GroupName::new(name).is_err(), "{name:?}");
    }
    assert!(GroupName::new("a!b").is_err(), "`!` is for channels");
    let too_long = NameError::TooLong { kind: "group", length: 101 };
    assert_eq!(GroupName::new("x".repeat(101)), Err(too_long));

    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    for prefix in ["=+135", "a!b", &"x".repeat(99)] {
        let made = layer.backend().new_channel(prefix).await;
        assert!(matches!(made, Err(LayerError::Name(_))), "{prefix:?} gave {made:?}");
    }
}

/// Rule 3; `test_random_reset__channel_name`, `test_random_reset__client_prefix`.
///
/// A name is `specific.<process>!<random>`, with 12 characters in each part, on any thread.
pub async fn rule_3_each_new_channel_has_a_unique_name<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let first = layer.new_channel().await.unwrap();
    let process = first.non_local().to_owned();
    let random = process.strip_prefix("specific.").and_then(|rest| rest.strip_suffix('!')).unwrap();
    assert!(random.len() == 12 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{first}");

    let mut names = HashSet::from([first]);
    for _ in 0..4 {
        let layer = layer.clone();
        let made = on_thread(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut names = Vec::new();
                for _ in 0..250 {
                    names.push(layer.new_channel().await.unwrap());
                }
                names
            })
        });
        names.extend(made.await);
    }
    assert_eq!(names.len(), 1_001, "every name is different");
    for name in names {
        assert_eq!(name.non_local(), process, "one process has one prefix");
        let local = name.local().unwrap();
        assert!(local.len() == 12 && local.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
}

/// Rule 3; `new_channel(prefix)`: the name starts with the given prefix.
pub async fn rule_3_a_new_channels_name_starts_with_the_prefix<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let channel = layer.backend().new_channel("jobs.").await.unwrap();
    assert!(channel.starts_with("jobs."), "{channel}");
    layer.send(&channel, note(1)).await.unwrap();
    assert_eq!(next_note(&layer, &channel).await, 1);
}

/// Rule 30; `test_reject_bad_client_prefix`: another process cannot receive from a channel with `!`.
pub async fn rule_30_only_its_own_process_receives_from_a_process_channel<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let local = layer.new_channel().await.unwrap().local().unwrap().to_owned();
    for name in
        [format!("specific.abcdefghijkl!{local}"), "specific.abcdefghijkl!".to_owned(), "a!b".to_owned()]
    {
        let foreign = channel(&name);
        assert_eq!(refusal(&layer, &foreign).await, LayerError::WrongProcess(foreign));
    }
}

/// Only the consumer reads its channel. Nobody else can take its events away.
pub async fn only_the_consumer_receives_from_its_channel<S: Server>() {
    let (_server, layer) = one::<S>(LayerConfig::new()).await;
    let mut member = Members::new(&layer).alone().await;
    let name = member.channel();
    assert_eq!(refusal(&layer, &name).await, LayerError::ConsumerChannel(name.clone()));
    layer.send(&name, note(1)).await.unwrap();
    member.assert_hears(&[1]).await;
    member.leave().await;
}
