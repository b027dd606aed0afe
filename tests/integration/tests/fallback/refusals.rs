//! Requests that are refused. Each answer has a status and the name of the error.

use greenroom::{
    Fallback,
    close::{Cause, CloseCode},
};
use serde_json::json;

use super::{
    client::{Answer, Client, JSON, OWN, ask, finish},
    end_of, serve,
};

fn is(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.error(), (status, error.to_owned()), "{answer:?}");
    assert!(answer.json()["message"].is_string());
}

#[actix_web::test]
async fn an_unknown_id_is_410_and_that_of_another_server_421() {
    let (server, _seen) = serve(Fallback::new());
    let own = Client::open(server.address(), "/room/").await;
    let (process, _) = own.id.split_at(8);
    let unknown = Client { id: format!("{process}{}", "0".repeat(32)), ..own.clone() };
    let malformed = Client { id: "x".to_owned(), ..own.clone() };
    for client in [unknown, malformed] {
        is(&client.poll(0).await, 410, "unknown_connection");
        is(&client.post(1, b"[]").await, 410, "unknown_connection");
        is(&client.close("").await, 410, "unknown_connection");
        let mut events = finish(client.events(&[]).await.socket).await;
        is(&events, 410, "unknown_connection");
        events.body.clear();
    }
    let other = if process.starts_with('0') { "1" } else { "0" };
    let other = Client { id: format!("{other}{}", &own.id[1..]), ..own.clone() };
    is(&other.poll(0).await, 421, "other_server");
    let missing = ask(server.address(), "GET", "/room/?greenroom=poll", &[], b"").await;
    is(&missing, 400, "bad_request");
}

#[actix_web::test]
async fn an_acknowledgement_from_the_future_is_400_and_harms_nothing() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    client.say("one").await;
    let early = Client { ack: 1, ..client.clone() };
    is(&early.poll(0).await, 400, "bad_request");
    is(&finish(early.events(&[]).await.socket).await, 400, "bad_request");
    is(&early.post(2, b"[]").await, 400, "bad_request");
    let ack = ask(server.address(), "POST", &early.target("ack", "ack=1"), &[OWN], b"").await;
    is(&ack, 400, "bad_request");
    assert_eq!(client.messages(1).await, ["one"]);
    let ack = ask(server.address(), "POST", &client.target("ack", "ack=1"), &[OWN], b"").await;
    assert_eq!(ack.status, 204);
}

#[actix_web::test]
async fn numbers_out_of_turn_are_400() {
    let (server, _seen) = serve(Fallback::new());
    let client = Client::open(server.address(), "/room/").await;
    for seq in [0, 2, u64::MAX] {
        is(&client.post(seq, b"[]").await, 400, "bad_request");
    }
    assert_eq!(client.post(1, b"[]").await.status, 204);
    is(&client.post(0, b"[]").await, 400, "bad_request");
    for more in ["", "seq=x", "seq=-1", "seq=+1", "seq=1&ack=x", "seq=99999999999999999999"] {
        let target = client.target("send", more);
        is(&ask(server.address(), "POST", &target, &[OWN, JSON], b"[]").await, 400, "bad_request");
    }
    let target = client.target("poll", "wait=x");
    is(&ask(server.address(), "GET", &target, &[], b"").await, 400, "bad_request");
    assert_eq!(client.poll(0).await.status, 204, "the connection lives");
}

#[actix_web::test]
async fn a_wrong_method_or_an_unknown_request_is_refused() {
    let (server, _seen) = serve(Fallback::new());
    let client = Client::open(server.address(), "/room/").await;
    let ask = async |method: &str, asked: &str| {
        ask(server.address(), method, &client.target(asked, "ack=0"), &[OWN], b"").await
    };
    for (method, asked, allow) in [
        ("GET", "open", "POST"),
        ("POST", "poll", "GET"),
        ("PUT", "send", "POST"),
        ("DELETE", "close", "POST"),
    ] {
        let answer = ask(method, asked).await;
        is(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow));
    }
    is(&ask("OPTIONS", "open").await, 405, "method_not_allowed");
    for asked in ["", "Open", "x"] {
        is(&ask("POST", asked).await, 400, "bad_request");
    }
}

#[actix_web::test]
async fn a_body_of_another_type_is_415_and_the_connection_stays() {
    let (server, _seen) = serve(Fallback::new());
    let mut client = Client::open(server.address(), "/room/").await;
    for headers in [&[OWN][..], &[OWN, ("content-type", "text/plain")]] {
        let answer =
            ask(server.address(), "POST", &client.target("send", "seq=1"), headers, br#"["a"]"#).await;
        is(&answer, 415, "unsupported_media_type");
    }
    let json = ("content-type", "Application/JSON; charset=utf-8");
    let answer =
        ask(server.address(), "POST", &client.target("send", "seq=1"), &[OWN, json], br#"["a"]"#).await;
    assert_eq!(answer.status, 204);
    assert_eq!(client.messages(1).await, ["a"]);
}

#[actix_web::test]
async fn an_invalid_body_is_400_and_closes_with_1007() {
    for body in [&b"{}"[..], b"[1]", b"[\"a\"", b"[\"\xff\"]", br#"[{"binary":"?"}]"#] {
        let (server, mut seen) = serve(Fallback::new());
        let mut client = Client::open(server.address(), "/room/").await;
        client.say("heard").await;
        is(&client.post(2, body).await, 400, "bad_request");
        assert_eq!(client.close_of().await.0, 1007);
        let how = end_of(&mut seen).await;
        assert_eq!((how.code, how.cause), (CloseCode::INVALID_DATA, Cause::Protocol));
        server.wait_until_empty().await;
    }
}

#[actix_web::test]
async fn a_close_with_an_invalid_code_is_400() {
    let (server, _seen) = serve(Fallback::new());
    let client = Client::open(server.address(), "/room/").await;
    for body in ["x", "{}", r#"{"code":1006}"#, r#"{"code":99}"#] {
        is(&client.close(body).await, 400, "bad_request");
    }
    is(&client.close(&"x".repeat(5000)).await, 413, "too_large");
    assert_eq!(client.poll(0).await.status, 204, "the connection lives");
    let open = ask(server.address(), "POST", "/room/?greenroom=open", &[OWN], b"[]").await;
    is(&open, 400, "bad_request");
    assert_eq!(server.connections(), 1);
    assert_eq!(json!(client.close("").await.status), 204);
}
