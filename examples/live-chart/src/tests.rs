use actix_web::{App, http::StatusCode, test};
use greenroom::{Mount, testing::WebsocketCommunicator};
use serde_json::{Value, json};

use super::*;

fn mount() -> (Chart, Mount) {
    let layer = Layer::from(MemoryLayer::new());
    let chart = Chart::new(layer.clone());
    let mount = Mount::new(application(&chart, &[])).unwrap().layer(layer);
    (chart, mount)
}

async fn look(mount: &Mount) -> (WebsocketCommunicator, Value) {
    let mut page = WebsocketCommunicator::new(mount, "/chart/");
    page.connect().await.unwrap();
    let now = page.receive_json().await.unwrap();
    (page, now)
}

#[actix_web::test]
async fn posted_data_reaches_every_open_page() {
    let (_, mount) = mount();
    let (mut first, before) = look(&mount).await;
    let (mut second, _) = look(&mount).await;
    let app = test::init_service(App::new().configure(mount.configure())).await;

    let post = test::TestRequest::post().uri("/data").set_json(json!({"name": " Fair ", "add": 7}));
    let answer = test::call_service(&app, post.to_request()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    for page in [&mut first, &mut second] {
        let after: Value = page.receive_json().await.unwrap();
        assert_eq!(after["type"], "chart.changed");
        assert_eq!(after["bars"][5], json!({"name": "Fair", "value": 7}));
        assert!(after["version"].as_u64() > before["version"].as_u64());
    }
    let (_, late) = look(&mount).await;
    assert_eq!(late["bars"][5]["value"], 7, "a page that opens later shows the earlier change");
}

#[actix_web::test]
async fn bad_data_is_refused_with_a_reason_and_changes_nothing() {
    let (_, mount) = mount();
    let app = test::init_service(App::new().configure(mount.configure())).await;
    let (mut page, _) = look(&mount).await;
    for (body, reason) in [
        (json!({"name": "", "add": 1}), "a name has 1 to 24 characters"),
        (json!({"name": "n".repeat(25), "add": 1}), "a name has 1 to 24 characters"),
        (json!({"name": "Shop", "add": -1}), "Json deserialize error"),
        (json!({"name": "n".repeat(5_000), "add": 1}), "JSON payload"),
    ] {
        let post = test::TestRequest::post().uri("/data").set_json(&body);
        let answer = test::call_service(&app, post.to_request()).await;
        assert!(answer.status().is_client_error(), "{body}");
        let text = test::read_body(answer).await;
        assert!(String::from_utf8_lossy(&text).contains(reason), "{text:?}");
    }
    let form = test::TestRequest::post().uri("/data").set_payload(r#"{"name":"Shop","add":1}"#);
    assert_eq!(test::call_service(&app, form.to_request()).await.status(), StatusCode::BAD_REQUEST);
    let rebound = test::TestRequest::post().uri("/data").insert_header(("host", "evil.example:8000"));
    let rebound = rebound.set_json(json!({"name": "Shop", "add": 1})).to_request();
    assert_eq!(test::call_service(&app, rebound).await.status(), StatusCode::NOT_FOUND);
    assert!(page.receive_nothing().await);
}

#[actix_web::test]
async fn the_chart_takes_as_many_names_as_it_has_colours() {
    let (chart, _) = mount();
    for name in ["six", "seven", "eight"] {
        chart.add(name, 1).await.unwrap();
    }
    assert_eq!(chart.add("nine", 1).await, Err(chart::BadData::Full));
    assert_eq!(chart.add("eight", 1).await, Ok(()));
}

#[actix_web::test]
async fn the_job_counts_until_it_is_done_and_starts_anew() {
    let (chart, mount) = mount();
    let (mut page, mut now) = look(&mount).await;
    let job = actix_web::rt::spawn(chart::job(chart.clone(), Duration::from_millis(1)));
    while now["job"]["running"] == true {
        now = page.receive_json().await.unwrap();
    }
    assert_eq!(now["job"]["done"], now["job"]["total"]);
    let sum: u64 = now["bars"].as_array().unwrap().iter().filter_map(|bar| bar["value"].as_u64()).sum();
    assert_eq!(json!(sum), now["job"]["total"], "each order is counted once");

    chart.run(true).await.unwrap();
    let anew: Value = page.receive_json().await.unwrap();
    assert_eq!((&anew["job"]["done"], &anew["job"]["running"]), (&json!(0), &json!(true)));
    chart.run(false).await.unwrap();
    while now["job"]["running"] == true || now["job"]["done"] == now["job"]["total"] {
        now = page.receive_json().await.unwrap();
    }
    assert!(page.receive_nothing().await, "a paused job sends nothing");
    job.abort();
}
