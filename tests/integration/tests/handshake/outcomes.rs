//! All ways in which `connect` can end. `disconnect` runs after each of them.

use std::{future, time::Duration};

use greenroom::{
    Error, Limits,
    close::{Cause, Disconnect},
    error::{AcceptConnection, DenyConnection, StopConsumer},
    middleware::Rejection,
    prelude::*,
    testing::LiveServer,
};
use integration_tests::{
    PATIENCE,
    raw::{Raw, Request, Response},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::timeout,
};

use super::{ask, serve};

/// An event that a consumer reports to the test.
#[derive(Debug, PartialEq)]
enum Report {
    Connecting,
    Ended(Disconnect),
}

/// Ends its `connect` in the way that the path names.
#[derive(NoEvents)]
struct Decider {
    how: String,
    reports: UnboundedSender<Report>,
}

impl Consumer for Decider {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        let _ = self.reports.send(Report::Connecting);
        match self.how.as_str() {
            "accept" => ctx.accept(),
            "raise-accept" => Err(AcceptConnection.into()),
            "raise-deny" => Err(DenyConnection.into()),
            "raise-stop" => Err(StopConsumer.into()),
            "return" => Ok(()),
            "close" => {
                ctx.close();
                Ok(())
            }
            "close-with" => ctx.close_with(4001, "a reason that no handshake can carry"),
            "close-busy" => ctx.close_with(1013, ""),
            "reject" => ctx.reject(Rejection::new(402, "pay first")?.header("X-Price", "5")?),
            "reject-twice" => {
                ctx.reject(Rejection::unauthorized())?;
                ctx.reject(Rejection::forbidden())
            }
            "fail" => Err(Error::msg("the secret of the house")),
            "panic" => panic!("the secret of the house"),
            "send-too-early" => ctx.send_text("hello"),
            "accept-and-fail" => {
                ctx.accept()?;
                Err(Error::msg("the secret of the house"))
            }
            "accept-and-panic" => {
                ctx.accept()?;
                panic!("the secret of the house")
            }
            "accept-and-deny" => {
                ctx.accept()?;
                Err(DenyConnection.into())
            }
            "accept-and-stop" => {
                ctx.accept()?;
                Err(StopConsumer.into())
            }
            "hang" => future::pending().await,
            how => panic!("no such case: {how}"),
        }
    }

    async fn disconnect(&mut self, reason: Disconnect, _ctx: &mut Context) {
        let _ = self.reports.send(Report::Ended(reason));
    }
}

struct Case {
    server: LiveServer,
    reports: UnboundedReceiver<Report>,
}

impl Case {
    fn new(limits: Limits) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let routes = UrlRouter::new().route_with("/{how}/", limits, move |scope: &Scope| {
            Ok(Decider { how: scope.param("how")?, reports: sender.clone() })
        });
        Self { server: serve(routes), reports }
    }

    async fn report(&mut self) -> Report {
        timeout(PATIENCE, self.reports.recv()).await.expect("a report in time").expect("the server runs")
    }

    /// Checks that `connect` and then `disconnect` ran once each.
    async fn ended(&mut self) -> Disconnect {
        assert_eq!(self.report().await, Report::Connecting);
        let Report::Ended(reason) = self.report().await else { panic!("connect ran twice") };
        self.server.wait_until_empty().await;
        assert!(self.reports.try_recv().is_err(), "disconnect ran twice");
        reason
    }
}

/// Checks that a handshake is refused, and that `disconnect` gets 1006 (rule 11), as in Channels.
async fn refused(how: &str) -> Response {
    let mut case = Case::new(Limits::new());
    let response = ask(&case.server, &Request::new(&format!("/{how}/"))).await;
    assert_eq!(case.ended().await, Disconnect::new(1006, "", Cause::Rejected), "{how}");
    assert!(!response.body.contains("secret"), "{response:?}");
    response
}

/// Opens a connection that the server ends. Returns the code of the close frame, and the argument of `disconnect`.
async fn accepted_and_closed(how: &str) -> (u16, Disconnect) {
    let mut case = Case::new(Limits::new());
    let mut client = Raw::connect(case.server.address(), &format!("/{how}/")).await;
    let (code, reason) = client.closed().await;
    assert_eq!(reason, "", "only the log has the error");
    (code, case.ended().await)
}

/// Mirrors daphne's test_accept and Channels' test_websocket_consumer.
#[actix_web::test]
async fn accept_and_its_exception_open_the_connection() {
    for how in ["accept", "raise-accept"] {
        let mut case = Case::new(Limits::new());
        let client = Raw::connect(case.server.address(), &format!("/{how}/")).await;
        drop(client);
        assert_eq!(case.ended().await, Disconnect::new(1006, "", Cause::Gone), "{how}");
    }
}

/// Rule 12, mended: the refusal comes at once. Daphne waits for 5 s and then drops TCP.
#[actix_web::test]
async fn without_an_accept_the_answer_is_403_at_once() {
    assert_eq!(refused("return").await.status, 403);
}

/// Rules 11 and 20: a close or a denial before the accept is a 403. Mirrors daphne's test_reject.
#[actix_web::test]
async fn close_and_deny_before_the_accept_are_403() {
    for how in ["close", "close-with", "raise-deny", "raise-stop"] {
        assert_eq!(refused(how).await.status, 403, "{how}");
    }
}

#[actix_web::test]
async fn try_again_later_before_the_accept_is_503() {
    assert_eq!(refused("close-busy").await.status, 503);
}

/// The denial response of ASGI, which Daphne lacks.
#[actix_web::test]
async fn a_rejection_has_a_status_headers_and_a_body() {
    let response = refused("reject").await;
    assert_eq!((response.status, response.body.as_str()), (402, "pay first"));
    assert_eq!(response.header("X-Price"), Some("5"));
    assert_eq!(refused("reject-twice").await.status, 401, "the first rejection counts");
}

/// Rules 15 and 16: the answer is 500, and unlike in Channels `disconnect` runs.
#[actix_web::test]
async fn errors_and_panics_before_the_accept_are_500() {
    for how in ["fail", "panic", "send-too-early"] {
        assert_eq!(refused(how).await.status, 500, "{how}");
    }
}

/// Rules 15 and 20: an error after the accept closes with 1011.
#[actix_web::test]
async fn errors_and_panics_after_the_accept_are_1011() {
    for how in ["accept-and-fail", "accept-and-panic", "accept-and-deny"] {
        let (code, ended) = accepted_and_closed(how).await;
        assert_eq!((code, ended), (1011, Disconnect::new(1011, "", Cause::Error)), "{how}");
    }
}

/// Rule 19, mended: the socket closes. Daphne leaves it open.
#[actix_web::test]
async fn stopping_after_the_accept_closes_with_1000() {
    let (code, ended) = accepted_and_closed("accept-and-stop").await;
    assert_eq!((code, ended), (1000, Disconnect::new(1000, "", Cause::Consumer)));
}

#[actix_web::test]
async fn a_connect_that_never_ends_is_503_at_its_limit() {
    let mut case = Case::new(Limits::new().connect_timeout(Duration::from_millis(50)));
    let response = ask(&case.server, &Request::new("/hang/")).await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some(), "{response:?}");
    assert_eq!(case.ended().await.code.0, 1006);
}

/// The grace counts from the moment when the client left, not from the start of `connect`.
#[actix_web::test]
async fn a_client_that_leaves_during_connect_is_gone() {
    let limits =
        Limits::new().connect_timeout(Duration::from_secs(3600)).disconnect_grace(Duration::from_millis(50));
    let mut case = Case::new(limits);
    let mut client = Raw::open(case.server.address()).await;
    client.request(&Request::new("/hang/")).await;
    assert_eq!(case.report().await, Report::Connecting);
    drop(client);
    assert_eq!(case.report().await, Report::Ended(Disconnect::new(1006, "", Cause::Gone)));
    case.server.wait_until_empty().await;
}

#[actix_web::test]
async fn a_consumer_that_cannot_be_made_is_500_denied_or_not_found() {
    let routes = UrlRouter::new()
        .route("/fail/", |_: &Scope| -> Result<Decider> { Err(Error::msg("the secret of the house")) })
        .route("/panic/", |_: &Scope| -> Result<Decider> { panic!("the secret of the house") })
        .route("/deny/", |_: &Scope| -> Result<Decider> { Err(DenyConnection.into()) })
        .route("/group/{room}/", |scope: &Scope| -> Result<Decider> {
            let room: GroupName = scope.param("room")?;
            panic!("{room} is a good name");
        });
    let server = serve(routes);
    for (path, status) in [("/fail/", 500), ("/panic/", 500), ("/deny/", 403), ("/group/a%20b/", 404)] {
        let response = ask(&server, &Request::new(path)).await;
        assert_eq!(response.status, status, "{path}");
        assert!(!response.body.contains("secret"), "{response:?}");
    }
    server.wait_until_empty().await;
}
