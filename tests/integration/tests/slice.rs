//! A chat, end to end.
use greenroom::{prelude::*, Mount, testing::{LiveServer, WebsocketCommunicator}};
use integration_tests::Client;

#[derive(Clone, Serialize, Deserialize, Event)]
#[event("chat.message")]
struct ChatMessage { user: String, text: String }

struct Chat { room: GroupName }
impl Consumer for Chat {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.group_add(&self.room).await?;
        ctx.accept()
    }
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let said = message.json::<ChatMessage>()?;
        ctx.group_send(&self.room, &said).await
    }
}
#[event_handlers]
impl Chat {
    async fn chat_message(&mut self, event: &ChatMessage, ctx: &mut Context) -> Result<()> {
        ctx.send_event(event)
    }
}
fn mount() -> Mount {
    Mount::new(UrlRouter::new().route("/ws/room/{room:[A-Za-z0-9_-]+}/", |scope: &Scope| Ok(Chat { room: scope.param("room")? }))).unwrap()
}

#[actix_web::test]
async fn in_process() {
    let mount = mount();
    let mut a = WebsocketCommunicator::new(&mount, "/ws/room/x/");
    let mut b = WebsocketCommunicator::new(&mount, "/ws/room/x/");
    a.connect().await.unwrap();
    b.connect().await.unwrap();
    a.send_text(r#"{"user":"a","text":"hi"}"#);
    let expected = r#"{"type":"chat.message","user":"a","text":"hi"}"#;
    assert_eq!(a.receive_text().await.unwrap(), expected);
    assert_eq!(b.receive_text().await.unwrap(), expected);
    assert!(a.receive_nothing().await);
    assert_eq!(u16::from(a.disconnect().await), 1000);
}

#[actix_web::test]
async fn live() {
    for workers in [1, 4] {
        let server = LiveServer::start(&mount(), workers).unwrap();
        let mut clients = Vec::new();
        for _ in 0..8 { clients.push(Client::connect(&server, "/ws/room/x/").await); }
        clients[3].send(r#"{"user":"a","text":"hi"}"#).await;
        for client in &mut clients { assert_eq!(client.text().await, r#"{"type":"chat.message","user":"a","text":"hi"}"#); }
        for client in clients { assert_eq!(client.close().await.0, 1000); }
        server.wait_until_empty().await;
    }
}
