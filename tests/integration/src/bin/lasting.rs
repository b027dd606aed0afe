//! A server for the tests of how a chat goes on after its server was replaced. Its rooms are in memory, and their history
//! is in the file that its argument names.

use std::{env, io, io::Write as _, process::ExitCode};

use greenroom::{Layer, LayerConfig, MemoryLayer, Server, history::History, prelude::*};

#[derive(Clone, Serialize, Deserialize, Event)]
struct Said {
    text: String,
}

struct Chat {
    room: GroupName,
}

impl Consumer for Chat {
    fn groups(&self) -> Vec<GroupName> {
        vec![self.room.clone()]
    }

    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        let text = message.text()?.to_owned();
        match text.strip_prefix("others:") {
            Some(text) => ctx.group_send_others(&self.room, Said { text: text.to_owned() }).await,
            None => ctx.group_send(&self.room, Said { text }).await,
        }
    }
}

#[event_handlers]
impl Chat {
    #[relay]
    fn said(event: &Said) -> Outgoing {
        Outgoing::text(event.text.clone())
    }
}

fn say(line: &str) {
    let mut output = io::stdout().lock();
    // A test that has ended no longer reads the output.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

#[actix_web::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let path = env::args().nth(1).ok_or("the path of the file is missing")?;
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let config = LayerConfig::new().history("chat_*", History::last(1_000));
    let layer = match MemoryLayer::with_config(config).history_file(path) {
        Ok(layer) => Layer::from(layer),
        Err(error) => {
            say(&error.to_string());
            return Ok(ExitCode::FAILURE);
        }
    };
    let make = |scope: &Scope| Ok(Chat { room: GroupName::new(scope.param::<String>("room")?)? });
    let server = Server::new(UrlRouter::new().route("/{room}/", make))?.layer(layer.clone()).threads(2);
    let server = server.bind("127.0.0.1:0")?;
    say(&format!("listening on {}", server.addresses()[0]));
    server.run().await?;
    layer.close().await;
    say("the end");
    Ok(ExitCode::SUCCESS)
}
