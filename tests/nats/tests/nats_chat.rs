//! Two chat servers and a plain NATS client on one NATS.

use std::process::{Command, Stdio};

use futures_util::StreamExt;
use integration_tests::PATIENCE;
use nats_tests::NatsServer;
use redis_tests::{Chat, program};
use tokio::time::timeout;

fn said(user: &str, text: &str) -> (String, String) {
    (user.to_owned(), text.to_owned())
}

/// `{"type": "chat.message", "user": …, "text": …}` in MessagePack, as any program can write it.
fn message(user: &str, text: &str) -> Vec<u8> {
    let mut bytes = vec![0x83];
    for word in ["type", "chat.message", "user", user, "text", text] {
        bytes.push(0xa0 | u8::try_from(word.len()).unwrap());
        bytes.extend(word.bytes());
    }
    bytes
}

/// Ten pages on each of two servers, and a NATS client: all get what one of them says, once and in order.
#[actix_web::test]
async fn two_chat_servers_and_a_nats_client_hear_each_other() {
    let server = NatsServer::start();
    let chats = [Chat::start(&server.url()).await, Chat::start(&server.url()).await];
    let mut pages = Vec::new();
    for chat in &chats {
        for number in 0..10 {
            pages.push(chat.join(&format!("page{number}")).await);
        }
    }
    let stranger = server.connect().await;
    let mut heard = stranger.subscribe("greenroom.group.chat_123").await.unwrap();
    stranger.publish("greenroom.group.chat_123", message("stranger", "hi").into()).await.unwrap();
    for page in &mut pages {
        assert_eq!(page.said().await, said("stranger", "hi"));
    }
    for (speaker, text) in [(0, "from the first"), (19, "from the second")] {
        pages[speaker].say(text).await;
        for page in &mut pages {
            assert_eq!(page.said().await, said(&format!("page{}", speaker % 10), text));
        }
        let published = async {
            loop {
                let message = heard.next().await.expect("it is connected");
                let is =
                    |part: &str| message.payload.windows(part.len()).any(|bytes| bytes == part.as_bytes());
                if is("chat.message") && is(text) {
                    return;
                }
            }
        };
        timeout(PATIENCE, published).await.expect("the stranger hears it too");
    }
    drop(pages);
    for chat in chats {
        chat.stop().await;
    }
}

/// If the layer cannot be reached or its URL is wrong, the program ends with an error that says so.
#[actix_web::test]
async fn a_wrong_layer_ends_the_program_with_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (layer, says) in [(&*format!("nats://{free}"), "refused"), ("nats://", "URL")] {
        let chat = Command::new(program("chat"))
            .args(["--bind", "127.0.0.1:0", "--layer", layer])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = chat.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(says), "{layer}: {text}");
    }
}

#[actix_web::test]
async fn the_clocks_of_two_processes_may_differ() {
    redis_tests::assert_clocks_change_nothing(&NatsServer::jetstream().url()).await;
}
