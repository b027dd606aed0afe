//! A layer of a user's own, which writes only what differs from the layer inside one process.

use std::sync::{Arc, Mutex};

use greenroom::{
    ChannelLayer, Delivery, Envelope, Layer, LayerConfig, LayerError, Mount, async_trait, layers::Groups,
    prelude::*, testing::WebsocketCommunicator,
};

/// Notes what is sent to groups.
#[derive(Debug)]
struct Noted {
    groups: Groups,
    names: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl ChannelLayer for Noted {
    fn groups(&self) -> &Groups {
        &self.groups
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        self.names.lock().unwrap().push(envelope.name().to_owned());
        Ok(self.groups.publish_counted(group, envelope).await)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
struct Told {
    text: String,
}

struct Member;

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![room()]
    }
}

#[event_handlers]
impl Member {
    #[relay]
    fn told(event: &Told) -> Result<Outgoing> {
        Outgoing::event(event)
    }
}

fn room() -> GroupName {
    GroupName::new("room").unwrap()
}

fn told(text: &str) -> Told {
    Told { text: text.to_owned() }
}

#[actix_web::test]
async fn a_backend_writes_only_what_differs() {
    let names = Arc::default();
    let backend = Noted { groups: Groups::new(LayerConfig::new()), names: Arc::clone(&names) };
    // A backend is given as it is, as the layers of the crate are.
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Member))).unwrap().layer(backend);
    let layer: Layer = mount.default_layer().clone();
    let mut client = WebsocketCommunicator::new(&mount, "/");
    client.connect().await.unwrap();

    assert_eq!(layer.group_send_counted(&room(), told("counted")).await.unwrap().delivered, 1);
    layer.group_send(&room(), told("sent")).await.unwrap();
    for text in ["counted", "sent"] {
        assert_eq!(client.receive_event::<Told>().await.unwrap(), told(text));
    }
    assert_eq!(*names.lock().unwrap(), ["told", "told"], "both sends go the one way that was written");

    layer.send(&client.channel_name().unwrap(), told("directly")).await.unwrap();
    assert_eq!(client.receive_event::<Told>().await.unwrap(), told("directly"));

    let queue = layer.new_channel().await.unwrap();
    layer.group_add(&room(), &queue).await.unwrap();
    layer.group_send(&room(), told("queued")).await.unwrap();
    assert_eq!(*layer.receive(&queue).await.unwrap().event::<Told>().unwrap(), told("queued"));
    layer.group_discard(&room(), &queue).await.unwrap();
    layer.flush().await.unwrap();
    layer.close().await;
    assert_eq!(layer.group_send_counted(&room(), told("last")).await.unwrap().delivered, 1);
}
