//! Two chat servers and a Python process on one Redis.

use std::process::{Child, Command, Stdio};

use redis_tests::{Chat, Python, RedisServer, eventually, program};
use serde_json::json;

fn said(user: &str, text: &str) -> (String, String) {
    (user.to_owned(), text.to_owned())
}

/// Ten pages on each of two servers, and Python: all get what one of them says, once and in order.
async fn two_chat_servers_and_python_hear_each_other(scheme: &str, kind: &str) {
    let server = RedisServer::start();
    let url = server.url().replace("redis://", scheme);
    let chats = [Chat::start(&url).await, Chat::start(&url).await];
    let mut pages = Vec::new();
    for chat in &chats {
        for number in 0..10 {
            pages.push(chat.join(&format!("page{number}")).await);
        }
    }
    let mut python = Python::start(kind, &json!({"hosts": [server.url()]})).await;
    let theirs = python.must("new_channel", &[]).await;
    python.must("group_add", &[json!("chat_123"), theirs.clone()]).await;

    let message = "{'type': 'chat.message', 'user': 'django', 'text': 'hi'}";
    python.must("group_send", &[json!("chat_123"), json!(message)]).await;
    for page in &mut pages {
        assert_eq!(page.said().await, said("django", "hi"));
    }
    assert_eq!(python.receive(&theirs).await, message);
    for (speaker, text) in [(0, "from the first"), (19, "from the second")] {
        pages[speaker].say(text).await;
        for page in &mut pages {
            assert_eq!(page.said().await, said(&format!("page{}", speaker % 10), text));
        }
        let heard = python.receive(&theirs).await;
        assert!(heard.contains(&format!("'text': '{text}'")), "{heard}");
    }
    drop(pages);
    for chat in chats {
        chat.stop().await;
    }
    // One name may be left: the Python process' own.
    eventually("both have left", || server.run::<u64>(&["ZCARD", "asgi:group:chat_123"]) <= 1).await;
}

#[actix_web::test]
async fn two_chat_servers_and_python_hear_each_other_over_core() {
    two_chat_servers_and_python_hear_each_other("redis://", "core").await;
}

#[actix_web::test]
async fn two_chat_servers_and_python_hear_each_other_over_pubsub() {
    two_chat_servers_and_python_hear_each_other("redis-pubsub://", "pubsub").await;
}

/// If the layer is unknown or cannot be reached, the program ends with an error that says so.
#[actix_web::test]
async fn a_wrong_layer_ends_the_program_with_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("redis://{free}");
    for example in ["chat", "django-interop"] {
        for (layer, says) in [("rabbit://x", "rabbit"), (&away, "refused"), ("redis://", "URL")] {
            let process: Child = Command::new(program(example))
                .args(["--bind", "127.0.0.1:0", "--layer", layer])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            let output = process.wait_with_output().expect("it ends");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && text.contains(says), "{example}, {layer}: {text}");
        }
    }
}

#[actix_web::test]
async fn the_clocks_of_two_processes_may_differ() {
    redis_tests::assert_clocks_change_nothing(&RedisServer::start().url()).await;
}

#[actix_web::test]
async fn the_clocks_of_two_processes_may_differ_over_pubsub() {
    let server = RedisServer::start();
    redis_tests::assert_clocks_change_nothing(&server.url().replace("redis://", "redis-pubsub://")).await;
}
