use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};

use super::{Heard, Opened, Refused, Said, TestClient};
use crate::PATIENCE;

/// A WebSocket.
#[derive(Debug)]
pub struct WebSocket(WebSocketStream<TcpStream>);

impl TestClient for WebSocket {
    const IS_SEEN_TO_VANISH: bool = true;

    async fn open(address: SocketAddr, path: &str, protocols: &[&str]) -> Result<Opened<Self>, Refused> {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a valid address");
        if !protocols.is_empty() {
            let value = protocols.join(", ").parse().expect("a header value");
            request.headers_mut().insert("sec-websocket-protocol", value);
        }
        let stream = TcpStream::connect(address).await.expect("the server listens");
        match timeout(PATIENCE, client_async(request, stream)).await.expect("an answer in time") {
            Ok((stream, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|value| value.to_str().expect("a name").to_owned());
                Ok(Opened { client: Self(stream), protocol })
            }
            Err(Error::Http(response)) => {
                let status = response.status().as_u16();
                let body = response.into_body().unwrap_or_default();
                Err(Refused { status, body: String::from_utf8(body).expect("a text") })
            }
            Err(error) => panic!("cannot connect: {error}"),
        }
    }

    async fn send(&mut self, message: Said) -> bool {
        let message = match message {
            Said::Binary(bytes) => Message::binary(bytes),
            Said::Text(text) => Message::text(text),
        };
        timeout(PATIENCE, self.0.send(message)).await.expect("the server reads in time").is_ok()
    }

    async fn receive(&mut self) -> Heard {
        loop {
            let heard = match timeout(PATIENCE, self.0.next()).await.expect("a message in time") {
                Some(Ok(Message::Text(text))) => Heard::Message(Said::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => Heard::Message(Said::Binary(bytes.into())),
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    Heard::Closed { code: code.into(), reason: reason.to_string() }
                }
                Some(Ok(Message::Close(None))) => Heard::Closed { code: 1005, reason: String::new() },
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Heard::Closed { code: 1006, reason: String::new() },
            };
            if let Heard::Closed { .. } = heard {
                // tungstenite sends the answer to the close frame at the next read.
                while let Ok(Some(Ok(_))) = timeout(PATIENCE, self.0.next()).await {}
            }
            return heard;
        }
    }

    async fn close(mut self, code: Option<u16>, reason: &str) {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: reason.into() });
        self.0.send(Message::Close(frame)).await.expect("the connection is open");
        self.ended().await;
    }

    async fn vanish(self) {
        drop(self.0);
    }
}
