//! A server for the tests of how a server ends. It prints what its consumers do.
//!
//! On `/room/`, `disconnect` only prints. On `/held/`, it first waits for a line on the input. A request for `/drain`
//! drains the server. It runs on the host that `GREENROOM_TEST_HOST` names.

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, web};
use greenroom::{Drain, Mount, Server, prelude::*, testing::Host};
use tokio::sync::Notify;

/// A line on the input opens this gate.
static GATE: Notify = Notify::const_new();

#[derive(NoEvents)]
struct Guest {
    held: bool,
}

impl Consumer for Guest {
    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        if self.held {
            say("held");
            GATE.notified().await;
        }
        say(&format!("disconnect {}", u16::from(reason.code)));
    }
}

/// Prints a whole line at once, because several threads print.
fn say(line: &str) {
    let mut output = io::stdout().lock();
    // A test that has ended no longer reads the output.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

#[actix_web::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    thread::spawn(|| {
        let mut line = String::new();
        while io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
            GATE.notify_one();
        }
    });
    let routes = UrlRouter::new()
        .route("/room/", |_: &Scope| Ok(Guest { held: false }))
        .route("/held/", |_: &Scope| Ok(Guest { held: true }));
    let mount = Mount::new(routes)?;
    let app = |mount: &Mount| {
        let page = || async { HttpResponse::Ok().body("the page") };
        let drain = || async {
            actix_web::rt::spawn(async { Drain::process().drain(Duration::from_secs(30)).await });
            HttpResponse::Ok().body("draining")
        };
        let app = App::new().configure(mount.configure());
        app.route("/", web::get().to(page)).route("/drain", web::get().to(drain))
    };
    let ended = match Host::from_env()? {
        Host::Direct => {
            let server = Server::of(mount).app(app).threads(2).bind("127.0.0.1:0")?;
            say(&format!("listening on {}", server.addresses()[0]));
            server.run().await
        }
        Host::Mounted => {
            let server = HttpServer::new(move || app(&mount)).workers(2).bind("127.0.0.1:0")?;
            say(&format!("listening on {}", server.addrs()[0]));
            greenroom::run(server).await
        }
        other => return Err(format!("no such host: {other:?}").into()),
    };
    if let Err(error) = ended {
        say(&error.to_string());
        return Err(error.into());
    }
    say("the end");
    Ok(())
}
