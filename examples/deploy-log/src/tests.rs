use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use greenroom::{
    Mount,
    testing::{LiveServer, WebsocketCommunicator},
};
use serde_json::{Value, json};

use super::*;

const TRIED: &[Plan] = &[
    Plan { name: "short", script: "echo one; echo two >&2; exit 3" },
    Plan { name: "long", script: "echo begun; sleep 1000" },
    Plan { name: "much", script: "seq 1 1200" },
];

struct Trial {
    mount: Mount,
    deployments: Deployments,
}

impl Trial {
    /// Starts a trial that runs one deployment at a time.
    fn start() -> Self {
        let layer = Layer::from(MemoryLayer::new());
        let deployments = Deployments::new(layer.clone(), TRIED);
        let mount = Mount::new(application(&deployments, &[])).unwrap().layer(layer);
        actix_web::rt::spawn(deployments.clone().run_queue());
        Self { mount, deployments }
    }

    async fn open(&self) -> WebsocketCommunicator {
        let mut page = WebsocketCommunicator::new(&self.mount, "/deployments/");
        page.connect().await.unwrap();
        page
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.deployments.end();
    }
}

/// Reads events until `found` returns a value.
async fn until<T>(page: &mut WebsocketCommunicator, mut found: impl FnMut(&Value) -> Option<T>) -> T {
    loop {
        let event: Value = page.receive_json().await.unwrap();
        if let Some(found) = found(&event) {
            return found;
        }
    }
}

/// Reads events until the deployment is in this state. Returns its entry in the list.
async fn until_state(page: &mut WebsocketCommunicator, id: u64, state: &str) -> Value {
    until(page, |event| {
        let list = event["deployments"].as_array()?;
        list.iter().find(|one| one["id"] == id && one["state"] == state).cloned()
    })
    .await
}

fn texts(log: &Value) -> Vec<&str> {
    log["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
}

async fn log(page: &mut WebsocketCommunicator, id: u64) -> Value {
    page.send_json(&json!({"watch": id}));
    until(page, |event| (event["type"] == "deployment.log" && event["id"] == id).then(|| event.clone())).await
}

#[actix_web::test]
async fn a_watcher_reads_each_line_and_a_late_one_the_lines_before() {
    let trial = Trial::start();
    let mut ann = trial.open().await;
    let mut bob = trial.open().await;
    ann.send_json(&json!({"start": "long"}));
    until_state(&mut bob, 1, "running").await;
    ann.send_json(&json!({"start": "short"}));
    until_state(&mut bob, 2, "queued").await;
    assert!(texts(&log(&mut bob, 2).await).is_empty());

    bob.send_json(&json!({"cancel": 1}));
    let mut lines = Vec::new();
    for _ in 0..2 {
        lines
            .push(until(&mut bob, |event| (event["type"] == "deployment.line").then(|| event.clone())).await);
    }
    assert_eq!((&lines[0]["id"], &lines[0]["number"]), (&json!(2), &json!(1)));
    assert_eq!((&lines[1]["id"], &lines[1]["number"]), (&json!(2), &json!(2)));
    lines.sort_by_key(|line| line["text"].to_string());
    assert_eq!((&lines[0]["text"], &lines[0]["source"]), (&json!("one"), &json!("stdout")));
    assert_eq!((&lines[1]["text"], &lines[1]["source"]), (&json!("two"), &json!("stderr")));
    assert_eq!(until_state(&mut bob, 2, "failed").await["code"], 3);

    assert_eq!(texts(&log(&mut ann, 2).await).len(), 2, "a page that watches only now gets both lines");
}

/// A page whose name stands for 127.0.0.1 (DNS rebinding): its `Origin` and `Host` agree.
#[actix_web::test]
async fn a_page_of_another_name_cannot_start_a_deployment() {
    let trial = Trial::start();
    let server = LiveServer::start(&trial.mount, 1).unwrap();
    let port = server.address().port();
    for (name, status) in [("evil.example", "403"), ("localhost", "101")] {
        let mut page = TcpStream::connect(server.address()).unwrap();
        page.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!(
            "GET /deployments/ HTTP/1.1\r\nHost: {name}:{port}\r\nOrigin: http://{name}:{port}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        page.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        page.read_exact(&mut head).unwrap();
        assert_eq!(String::from_utf8_lossy(&head), format!("HTTP/1.1 {status}"), "{name}");
    }
}

#[actix_web::test]
async fn long_output_keeps_its_end_and_its_line_numbers() {
    let trial = Trial::start();
    let mut page = trial.open().await;
    page.send_json(&json!({"start": "much"}));
    until_state(&mut page, 1, "done").await;
    let log = log(&mut page, 1).await;
    assert_eq!(texts(&log).len(), deployments::LINES);
    assert_eq!((&log["lines"][0]["number"], texts(&log)[0]), (&json!(701), "701"));
    assert_eq!(texts(&log).last(), Some(&"1200"));
}

#[actix_web::test]
async fn a_cancelled_deployment_ends_and_the_next_one_runs() {
    let trial = Trial::start();
    let mut page = trial.open().await;
    for plan in ["long", "long", "short"] {
        page.send_json(&json!({"start": plan}));
    }
    until_state(&mut page, 3, "queued").await;
    page.send_json(&json!({"cancel": 2}));
    until_state(&mut page, 2, "cancelled").await;
    page.send_json(&json!({"cancel": 1}));
    until_state(&mut page, 1, "cancelled").await;
    until_state(&mut page, 3, "failed").await;
    assert!(texts(&log(&mut page, 2).await).is_empty(), "a deployment that never ran has no output");
    assert!(texts(&log(&mut page, 1).await).contains(&"[cancelled]"));
}

#[actix_web::test]
async fn the_queue_and_the_list_are_limited() {
    let trial = Trial::start();
    let mut page = trial.open().await;
    page.send_json(&json!({"start": "long"}));
    until_state(&mut page, 1, "running").await;
    for _ in 0..9 {
        page.send_json(&json!({"start": "long"}));
    }
    let reason = until(&mut page, |event| {
        (event["type"] == "deployment.refused").then(|| event["reason"].as_str().unwrap().to_owned())
    });
    assert_eq!(reason.await, "8 deployments wait already: cancel one, or try again later");
    for id in 1..=9 {
        page.send_json(&json!({"cancel": id}));
    }
    until_state(&mut page, 1, "cancelled").await;
    for id in 10..=25 {
        page.send_json(&json!({"start": "short"}));
        until_state(&mut page, id, "failed").await;
    }
    let board = serde_json::to_value(trial.deployments.board()).unwrap();
    let ids: Vec<u64> =
        board["deployments"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (6..=25).collect::<Vec<_>>(), "the oldest deployments are no longer listed");
}

#[actix_web::test]
async fn a_refused_command_is_answered_and_the_page_stays_connected() {
    let trial = Trial::start();
    let mut page = trial.open().await;
    page.receive_json::<Value>().await.unwrap();
    for (command, kind, reason) in [
        (json!({"start": "rm -rf /"}), "deployment.refused", "there is no plan of this name"),
        (json!({"watch": 77}), "deployment.refused", "there is no deployment 77 any more"),
        (json!({"run": "ls"}), "error", "unknown variant `run`"),
    ] {
        page.send_json(&command);
        let answer: Value = page.receive_json().await.unwrap();
        assert_eq!(answer["type"], kind);
        assert!(answer["reason"].as_str().unwrap().contains(reason), "{answer}");
    }
    page.send_json(&json!({"cancel": 77}));
    page.send_json(&json!({"unwatch": 77}));
    page.send_json(&json!({"start": "short"}));
    until_state(&mut page, 1, "failed").await;
}
