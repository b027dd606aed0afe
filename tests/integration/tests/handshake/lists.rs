//! Lists in the headers of a handshake, by RFC 9110, section 5.6.1: empty elements are ignored.

use greenroom::prelude::*;
use integration_tests::raw::{Raw, Request};

use super::{ask, serve};

/// Sends the subprotocols that it sees.
#[derive(NoEvents)]
struct Offered;

impl Consumer for Offered {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()?;
        let offered: Vec<_> = ctx.scope().subprotocols().collect();
        ctx.send_text(offered.join("|"))
    }
}

fn good() -> Request {
    Request::new("/")
}

/// React Native sends an empty `Sec-WebSocket-Protocol` for `new WebSocket(url, [])`.
#[actix_web::test]
async fn empty_elements_of_subprotocols_are_ignored() {
    let server = serve(UrlRouter::new().route("/", |_: &Scope| Ok(Offered)));
    for (lines, expected) in
        [(&[""][..], ""), (&[","], ""), (&["a,"], "a"), (&["a,,b"], "a|b"), (&[" ,\ta , ", "", "b"], "a|b")]
    {
        let request = lines.iter().fold(good(), |request, line| request.and("Sec-WebSocket-Protocol", line));
        let mut client = Raw::open(server.address()).await;
        let response = client.ask(&request).await;
        assert_eq!(response.status, 101, "{lines:?} {response:?}");
        assert_eq!(client.next_text().await, expected, "{lines:?}");
    }
    for bad in ["a b", "a, a", "a;b", "\"a\""] {
        let response = ask(&server, &good().and("Sec-WebSocket-Protocol", bad)).await;
        assert_eq!(response.status, 400, "{bad:?}");
    }
}

#[actix_web::test]
async fn the_other_lists_may_have_empty_and_further_elements() {
    let server = serve(UrlRouter::new().route("/", |_: &Scope| Ok(Offered)));
    for request in [
        good().and("Sec-WebSocket-Extensions", ""),
        good().and("Sec-WebSocket-Extensions", ", ,"),
        good().and("Sec-WebSocket-Extensions", ",permessage-deflate,,"),
        good().with("Connection", "upgrade, close"),
        good().with("Connection", ",close,, Upgrade,"),
        good().with("Connection", "keep-alive").and("Connection", "").and("Connection", "Upgrade"),
        good().and("Sec-WebSocket-Version", "13"),
        good().with("Sec-WebSocket-Version", "13, 13,"),
    ] {
        let mut client = Raw::open(server.address()).await;
        let response = client.ask(&request).await;
        assert_eq!(response.status, 101, "{request:?} {response:?}");
        assert_eq!(client.next_text().await, "", "{request:?}");
    }
    for other in ["", ",", "13, 8", "8, 13"] {
        let response = ask(&server, &good().with("Sec-WebSocket-Version", other)).await;
        assert_eq!(response.status, 426, "{other:?}");
    }
}
