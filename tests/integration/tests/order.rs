//! The promises about order, one by one.

use greenroom::{Mount, prelude::*, testing::WebsocketCommunicator};
use integration_tests::Gate;

/// An event that a relay passes on.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Relayed {
    text: String,
}

/// An event whose handler waits at the gate.
#[derive(Clone, Serialize, Deserialize, Event)]
struct Slow {
    text: String,
}

/// A member of the groups "a" and "b".
struct Member {
    gate: Gate,
    gate_in_connect: bool,
}

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![group("a"), group("b")]
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        if self.gate_in_connect {
            self.gate.pass().await;
        }
        ctx.accept()
    }

    /// Does what the message says. Each word is a command.
    async fn receive(&mut self, message: Message, ctx: &mut Context) -> Result<()> {
        for word in message.text()?.split_whitespace() {
            match word.split_once(':') {
                Some(("direct", text)) => ctx.send_text(text.to_owned())?,
                Some(("join", name)) => ctx.group_add(&group(name)).await?,
                Some(("leave", name)) => ctx.group_discard(&group(name)).await?,
                Some(("others", text)) => {
                    ctx.group_send_others(&group("a"), Relayed { text: text.to_owned() }).await?;
                }
                Some((name, text)) => ctx.group_send(&group(name), Relayed { text: text.to_owned() }).await?,
                None if word == "wait" => self.gate.pass().await,
                None => ctx.send_text(word.to_owned())?,
            }
        }
        Ok(())
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn relayed(event: &Relayed) -> Outgoing {
        Outgoing::text(event.text.clone())
    }

    async fn slow(&mut self, event: &Slow, ctx: &mut Context) -> Result<()> {
        self.gate.pass().await;
        ctx.send_text(event.text.clone())
    }
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn relayed(text: &str) -> Relayed {
    Relayed { text: text.to_owned() }
}

fn mount(gate: &Gate, gate_in_connect: bool) -> Mount {
    let gate = gate.clone();
    let make = move |_: &Scope| Ok(Member { gate: gate.clone(), gate_in_connect });
    Mount::new(UrlRouter::new().route("/", make)).unwrap()
}

async fn texts(client: &mut WebsocketCommunicator, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(client.receive_text().await.unwrap());
    }
    texts
}

async fn connected(mount: &Mount) -> WebsocketCommunicator {
    let mut client = WebsocketCommunicator::new(mount, "/");
    client.connect().await.unwrap();
    client
}

#[actix_web::test]
async fn a_relayed_event_waits_behind_an_event_of_a_suspended_hook() {
    let gate = Gate::default();
    let mount = mount(&gate, false);
    let mut member = connected(&mount).await;
    let layer = mount.default_layer();
    layer.group_send(&group("a"), Slow { text: "1".to_owned() }).await.unwrap();
    gate.visited().await;
    layer.group_send(&group("a"), relayed("2")).await.unwrap();
    layer.group_send(&group("b"), relayed("3")).await.unwrap();
    assert!(member.receive_nothing().await, "all wait for the hook");
    gate.open();
    assert_eq!(texts(&mut member, 3).await, ["1", "2", "3"]);
    layer.group_send(&group("a"), relayed("4")).await.unwrap();
    assert_eq!(texts(&mut member, 1).await, ["4"]);
}

#[actix_web::test]
async fn frames_of_two_groups_and_direct_sends_come_in_the_order_of_the_calls() {
    let mount = mount(&Gate::default(), false);
    let mut member = connected(&mount).await;
    let mut sender = connected(&mount).await;
    sender.send_text("leave:a leave:b a:1 b:2 a:3 a:4 b:5");
    assert_eq!(texts(&mut member, 5).await, ["1", "2", "3", "4", "5"]);
    // This sender is a member. Its direct sends leave at once, and its own events come after the hook has ended.
    member.send_text("direct:x a:1 direct:y b:2 direct:z");
    assert_eq!(texts(&mut member, 5).await, ["x", "y", "z", "1", "2"]);
}

#[actix_web::test]
async fn a_direct_send_keeps_its_place_among_the_frames_of_groups() {
    let mount = mount(&Gate::default(), false);
    let mut member = connected(&mount).await;
    let layer = mount.default_layer();
    // All sends are in one turn of the loop, so the member does not run between them.
    for round in 0..3 {
        layer.group_send(&group("a"), relayed(&format!("a{round}"))).await.unwrap();
        member.send_text(format!("direct:d{round}"));
        layer.group_send(&group("b"), relayed(&format!("b{round}"))).await.unwrap();
    }
    // The member's hooks ran after all six group sends.
    assert_eq!(texts(&mut member, 9).await, ["a0", "b0", "a1", "b1", "a2", "b2", "d0", "d1", "d2"]);
}

#[actix_web::test]
async fn sends_to_others_keep_their_place_among_all_sends() {
    let mount = mount(&Gate::default(), false);
    let (mut sender, mut member) = (connected(&mount).await, connected(&mount).await);
    sender.send_text("others:1 a:2 direct:x others:3 b:4 others:5");
    assert_eq!(texts(&mut member, 5).await, ["1", "2", "3", "4", "5"]);
    assert_eq!(texts(&mut sender, 3).await, ["x", "2", "4"]);
    // In a large group, which is served in slices, it is the same.
    let mut members = Vec::new();
    for _ in 0..1_200 {
        members.push(connected(&mount).await);
    }
    sender.send_text("others:6 a:7 direct:y others:8 b:9 others:10 direct:z");
    for member in members.iter_mut().chain([&mut member]) {
        assert_eq!(texts(member, 5).await, ["6", "7", "8", "9", "10"]);
    }
    assert_eq!(texts(&mut sender, 4).await, ["y", "z", "7", "9"]);
    assert!(sender.receive_nothing().await);
}

#[actix_web::test]
async fn joining_and_leaving_between_two_sends_is_exact() {
    let mount = mount(&Gate::default(), false);
    let mut member = connected(&mount).await;
    member.send_text("c:1 join:c c:2 leave:c c:3 join:c c:4 join:c c:5");
    assert_eq!(texts(&mut member, 3).await, ["2", "4", "5"]);
    assert!(member.receive_nothing().await);
    // The same holds for calls from outside the hooks.
    let layer = mount.default_layer();
    let channel = member.channel_name().unwrap();
    for (step, text) in [("", "6"), ("leave", "7"), ("", "8"), ("join", "9"), ("", "10")] {
        match step {
            "leave" => layer.group_discard(&group("c"), &channel).await.unwrap(),
            "join" => layer.group_add(&group("c"), &channel).await.unwrap(),
            _ => {}
        }
        layer.group_send(&group("c"), relayed(text)).await.unwrap();
    }
    assert_eq!(texts(&mut member, 3).await, ["6", "9", "10"]);
}

/// A group of more than 1,000 members on one thread is served in slices.
#[actix_web::test]
async fn joins_leaves_and_sends_during_a_large_send_are_exact() {
    let mount = mount(&Gate::default(), false);
    let mut members = Vec::new();
    for _ in 0..1_200 {
        members.push(connected(&mount).await);
    }
    let (layer, channel) = (mount.default_layer().clone(), members.last().unwrap().channel_name().unwrap());
    for other in &members[..1_199] {
        layer.group_discard(&group("b"), &other.channel_name().unwrap()).await.unwrap();
    }
    // The calls come from another thread, which does not wait for the slices. Each call returns while the slices go on.
    let calls = async move {
        let (large, small) = (group("a"), group("b"));
        layer.group_send(&large, relayed("1")).await?;
        layer.group_send(&small, relayed("2")).await?;
        layer.group_send(&large, relayed("3")).await?;
        layer.group_discard(&large, &channel).await?;
        layer.group_send(&large, relayed("4")).await?;
        layer.group_add(&large, &channel).await?;
        layer.group_send(&large, relayed("5")).await?;
        layer.send(&channel, relayed("6")).await?;
        layer.group_send_counted(&large, relayed("7")).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let calls = tokio::task::spawn_blocking(move || runtime.block_on(calls).unwrap().delivered);
    let mut one = members.pop().unwrap();
    assert_eq!(texts(&mut one, 6).await, ["1", "2", "3", "5", "6", "7"]);
    for other in &mut members {
        assert_eq!(texts(other, 5).await, ["1", "3", "4", "5", "7"]);
    }
    assert_eq!(calls.await.unwrap(), 1_200);
}

#[actix_web::test]
async fn rule_7_the_clients_messages_go_first_but_at_most_eight_in_a_row() {
    let gate = Gate::default();
    let mount = mount(&gate, false);
    let mut member = connected(&mount).await;
    member.send_text("wait");
    gate.visited().await;
    for event in ["e1", "e2"] {
        mount.default_layer().group_send(&group("a"), relayed(event)).await.unwrap();
    }
    for message in 0..20 {
        member.send_text(format!("direct:m{message}"));
    }
    gate.open();
    let texts = texts(&mut member, 22).await;
    // The message that waited at the gate was the first in a row.
    let places: Vec<_> =
        ["e1", "e2"].map(|event| texts.iter().position(|text| text == event).unwrap()).into();
    assert_eq!(places, [7, 16], "{texts:?}");
}
