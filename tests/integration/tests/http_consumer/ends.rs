//! How exchanges end: the client leaves, or is slow; the response is late; the server stops.

use super::*;

/// In an `HttpServer` nobody learns that a client has ended its sending side, which leavers and some waiting clients do.
#[actix_web::test]
async fn a_client_that_has_left_is_seen_by_what_is_sent_to_it() {
    let it = Fixture::new(Limits::new());
    let mut http = it.open().await;
    http.get("/s/x?do=headers,keep").await;
    drop(http);
    // The first part makes the client's system refuse, and a later part finds that.
    tell_until_left(&it.mount, &it.server).await;
    assert_eq!(it.ended().await, "1006 Gone");
}

/// A server of our own owns the sockets. In an App, the test above says what holds.
mod direct {
    use super::*;

    #[actix_web::test]
    async fn a_client_that_leaves_is_seen_at_once() {
        // These are longer than the test may take, so nothing waits for them.
        let limits = Limits::new().disconnect_grace(Duration::from_secs(3600)).response_timeout(None);
        let it = Fixture::new(limits);
        for (number, todo) in ["hang", "headers,hang", "keep", "headers,part,keep"].into_iter().enumerate() {
            let mut http = it.open().await;
            http.request("GET", &format!("/s/x?do={todo}"), &[], b"").await;
            eventually("the request has arrived", || it.log.lines().len() == 2 * number + 1).await;
            if todo.contains("hang") {
                it.gate.visited().await;
            }
            if todo.contains("headers") {
                http.head().await;
            }
            drop(http);
            assert_eq!(it.ended().await, "1006 Gone", "{todo}");
        }
    }
}

#[actix_web::test]
async fn a_response_that_takes_too_long_is_503() {
    let it = Fixture::new(Limits::new().response_timeout(Duration::from_millis(100)));
    for todo in ["hang", "keep", "hang%20with%20a%20brittle%20value"] {
        let (head, _) = it.open().await.ask("GET", &format!("/s/x?do={todo}"), &[], b"").await;
        assert_eq!(head.status, 503, "{todo}");
        assert_eq!(it.ended().await, "1006 Rejected", "{todo}");
    }
    let mut http = it.open().await;
    let head = http.get("/s/x?do=headers,hang,late").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    it.gate.open();
    it.gate.open();
    assert_eq!(http.body(&head).await.1, End::Whole, "a response that has begun may take longer");
}

#[actix_web::test]
async fn a_consumer_waits_for_a_client_that_reads_slowly() {
    let it = Fixture::new(Limits::new());
    let mut http = Http::open_narrow(it.server.address(), 4096).await;
    let head = http.get("/s/x?do=headers,much").await;
    let mut sent = 0;
    // The consumer sends until all buffers on the way are full. Then it waits.
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = it.log.lines().iter().filter(|line| *line == "sent").count();
        if now == sent {
            break;
        }
        sent = now;
    }
    assert!(sent < 32, "{sent} MiB are on their way");
    let (body, end) = http.body(&head).await;
    assert_eq!((body.len(), end), (64 << 20, End::Whole), "no byte is lost");
    assert_eq!(it.ended().await, "1000 Consumer");
}

#[actix_web::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let it = Fixture::new(Limits::new().write_timeout(Duration::from_millis(250)));
    let mut http = Http::open_narrow(it.server.address(), 4096).await;
    http.get("/s/x?do=headers,much").await;
    eventually("the consumer is told", || it.log.lines().last().is_some_and(|line| line == "1013 TooSlow"))
        .await;
    drop(http);
    assert_eq!(it.ended().await, "1013 TooSlow");
}

#[actix_web::test]
async fn a_shutdown_ends_every_exchange() {
    let it = Fixture::new(Limits::new());
    let mut streaming = it.open().await;
    let head = streaming.get("/s/x?do=headers,part,keep").await;
    assert_eq!(streaming.chunk().await.unwrap(), "part");
    let mut waiting = it.open().await;
    waiting.request("GET", "/s/x?do=keep", &[], b"").await;
    let mut uploading = it.open().await;
    uploading.send(b"POST /s/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc").await;
    eventually("all requests have arrived", || it.server.connections() == 3).await;
    assert_eq!(it.server.drain(PATIENCE).await, 0);
    assert_eq!(streaming.body(&head).await, (String::new(), End::Cut));
    for mut one in [waiting, uploading] {
        let head = one.head().await;
        assert_eq!(head.status, 503);
        assert!(head.header("retry-after").is_some(), "{head:?}");
    }
    let lines = it.log.lines();
    for expected in ["1012 Shutdown", "1006 Rejected"] {
        assert_eq!(lines.iter().filter(|line| *line == expected).count(), 1, "{lines:?}");
    }
}
