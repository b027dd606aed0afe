//! The program `greenroom`, at a terminal and in a cron job.

use integration_tests::PATIENCE;
use redis_tests::{
    Member, Python, RedisServer,
    cli::{command, lines, listen, run, text},
    eventually,
};
use serde_json::json;
use tokio::time::timeout;

#[actix_web::test]
async fn a_listener_prints_the_events_that_are_sent() {
    let server = RedisServer::start();
    for url in [server.url(), server.url().replace("redis://", "redis-pubsub://")] {
        let listener = listen(&["room", "--count", "3", "--layer", &url]).await;
        for (fields, input) in [
            ("{\"user\": \"cron\", \"text\": \"héllo\"}", ""),
            ("-", "{\"n\": [1, 2.5, null]}\n"),
            ("{ }", ""),
        ] {
            let sent = run(&["send", "room", "chat.message", fields, "--layer", &url], input).await;
            assert!(sent.status.success(), "{sent:?}");
            assert!(text(&sent.stderr).contains("chat.message room: sent to 1"), "{sent:?}");
        }
        let heard = lines(listener).await;
        assert_eq!(
            heard,
            [
                "{\"type\":\"chat.message\",\"user\":\"cron\",\"text\":\"héllo\"}",
                "{\"type\":\"chat.message\",\"n\":[1,2.5,null]}",
                "{\"type\":\"chat.message\"}",
            ]
        );
        let quiet = run(&["send", "room", "chat.message", "--layer", &url], "").await;
        assert!(
            quiet.status.success() && text(&quiet.stderr).contains("nobody is in the group"),
            "{quiet:?}"
        );
    }
    assert_eq!(server.run::<Vec<String>>(&["KEYS", "*"]), [""; 0], "no key stays in Redis");
}

#[actix_web::test]
async fn members_of_other_programs_and_python_hear_a_sent_event() {
    let server = RedisServer::start();
    let url = server.url();
    let layer = greenroom::Layer::open(&url).await.unwrap();
    let mut member = Member::of(&layer, &["room"]).await;
    let mut python = Python::start("core", &json!({"hosts": [url]})).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), theirs.clone()]).await;

    let sent = run(&["send", "room", "note", "{\"number\": 7}", "--layer", &url], "").await;
    assert!(text(&sent.stderr).contains("sent to 2"), "{sent:?}");
    assert_eq!(member.hears().await, "7");
    assert_eq!(python.receive(&theirs).await, "{'type': 'note', 'number': 7}");

    // The other direction, and a job for a worker.
    let listener = listen(&["room", "--count", "1", "--layer", &url]).await;
    python.must("group_send", &[json!("room"), json!("{'type': 'from.python', 'b': b'\\x00'}")]).await;
    assert_eq!(lines(listener).await, ["{\"type\":\"from.python\",\"b\":[0]}"]);
    let sent = run(&["send", "--channel", "jobs", "job.run", "--quiet", "--layer", &url], "").await;
    assert!(sent.status.success() && sent.stderr.is_empty(), "{sent:?}");
    assert_eq!(python.receive(&json!("jobs")).await, "{'type': 'job.run'}");
    member.leave().await;
}

#[actix_web::test]
async fn a_send_uses_the_given_prefix_keys_and_serializer() {
    let server = RedisServer::start();
    let url = server.url();
    let config = json!({
        "hosts": [url], "prefix": "shop", "serializer_format": "json", "symmetric_encryption_keys": ["old-key"],
    });
    let mut python = Python::start("core", &config).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("room"), theirs.clone()]).await;
    let options = ["--layer", &url, "--prefix", "shop", "--json", "--keys", "old-key,new-key"];
    let sent = run(&[&["send", "room", "note", "{\"number\": 1}"], &options[..]].concat(), "").await;
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(python.receive(&theirs).await, "{'type': 'note', 'number': 1}");
}

/// A wrong command ends with exit code 1 and one line, which says what to write instead.
#[actix_web::test]
async fn a_wrong_command_is_one_error_line() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("redis://{free}");
    let cases: [(&[&str], &str); 11] = [
        (&["send", "room", "note", "[1]"], "not a JSON object"),
        (&["send", "room", "note", "{\"a\": 1"], "not a JSON object"),
        (&["send", "room", "note", "{\"type\": \"other\"}"], "second argument"),
        (&["send", "room", "_note"], "malformed"),
        (&["send", "a room", "note"], "use ASCII letters"),
        (&["listen", "a room"], "use ASCII letters"),
        (&["send", "room", "note", "--layer", "memory"], "name a server"),
        (&["listen", "room", "--layer", &away], "refused"),
        // A URL without a scheme is not shown, because it may contain a password.
        (&["listen", "room", "--layer", "ann:s3cret@host"], "scheme"),
        (&["listen", "room", "--layer", "ann:s3cret@redis://host"], "scheme"),
        (&["listen", "room", "--layer", "redis://ann:s3cret/@host"], "invalid"),
    ];
    for (arguments, says) in cases {
        let server = if arguments.contains(&"--layer") { &[][..] } else { &["--layer", &away][..] };
        let output = run(&[arguments, server].concat(), "").await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.starts_with("greenroom: ") && told.contains(says), "{arguments:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

/// No event steers the terminal: what could is written as JSON escapes it.
#[actix_web::test]
async fn a_listener_escapes_what_a_terminal_would_obey() {
    let server = RedisServer::start();
    let url = server.url();
    let layer = greenroom::Layer::open(&url).await.unwrap();
    let listener = listen(&["room", "--count", "1", "--layer", &url]).await;
    let text = "h\u{e9} \u{1b}[2J \u{7f} \u{9b}31m \u{202e}txt.exe \u{2066} \u{2028} \u{1f3ad}";
    let event = json!({"type": "note", "text": text, "\u{9d}0;title\u{9c}": 1});
    layer
        .group_send(&redis_tests::group("room"), greenroom::Envelope::from_json(event.to_string()).unwrap())
        .await
        .unwrap();
    let heard = lines(listener).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&heard[0]).unwrap(), event, "the same JSON");
    let obeyed = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2066}' | '\u{2028}');
    assert!(!heard[0].contains(obeyed), "{:?}", heard[0]);
    assert!(heard[0].contains("h\u{e9}") && heard[0].contains('\u{1f3ad}'), "{:?}", heard[0]);
}

#[actix_web::test]
async fn a_listener_survives_a_restart_and_says_so() {
    let mut server = RedisServer::start();
    let url = server.url();
    let process = command(&["listen", "room", "--count", "1", "--layer", &url]).spawn().expect("it starts");
    let joined = || server.run::<u64>(&["ZCARD", "asgi:group:room"]) == 1;
    eventually("it has joined", joined).await;
    server.restart();
    eventually("it has joined again", || server.run::<u64>(&["ZCARD", "asgi:group:room"]) == 1).await;
    let sent = run(&["send", "room", "note", "--layer", &url], "").await;
    assert!(text(&sent.stderr).contains("sent to 1"), "{sent:?}");
    let output = timeout(PATIENCE, process.wait_with_output()).await.expect("in time").expect("it ends");
    assert_eq!(text(&output.stdout), "{\"type\":\"note\"}\n");
    assert!(text(&output.stderr).contains("the server was away"), "{output:?}");
}

#[actix_web::test]
async fn a_listener_that_hears_nothing_in_time_fails() {
    let server = RedisServer::start();
    let output = run(&["listen", "room", "--timeout", "0.05", "--layer", &server.url()], "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nothing came for 50ms"), "{output:?}");
}
