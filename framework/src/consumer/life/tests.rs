use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{
    ChannelLayer, ChannelName, Consumer, Delivery, Envelope, GroupName, Layer, LayerError, Limits,
    MemoryLayer, Mount, NoEvents, Scope, UrlRouter,
    layers::Groups,
    testing::{WebsocketCommunicator, pause},
};

/// A layer whose server never says that it knows of a group.
#[derive(Debug)]
struct Silent(MemoryLayer);

#[async_trait]
impl ChannelLayer for Silent {
    fn groups(&self) -> &Groups {
        self.0.groups()
    }

    fn joined<'a>(&'a self, _: &'a GroupName) -> Option<BoxFuture<'a, ()>> {
        Some(Box::pin(std::future::pending()))
    }

    async fn send(&self, channel: &ChannelName, envelope: Envelope) -> Result<(), LayerError> {
        self.0.send(channel, envelope).await
    }

    async fn receive(&self, channel: &ChannelName) -> Result<Envelope, LayerError> {
        self.0.receive(channel).await
    }

    async fn new_channel(&self, prefix: &str) -> Result<ChannelName, LayerError> {
        self.0.new_channel(prefix).await
    }

    async fn group_add(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.group_add(group, channel).await
    }

    async fn group_discard(&self, group: &GroupName, channel: &ChannelName) -> Result<(), LayerError> {
        self.0.group_discard(group, channel).await
    }

    async fn group_send(&self, group: &GroupName, envelope: Envelope) -> Result<(), LayerError> {
        self.0.group_send(group, envelope).await
    }

    async fn group_send_counted(
        &self,
        group: &GroupName,
        envelope: Envelope,
    ) -> Result<Delivery, LayerError> {
        self.0.group_send_counted(group, envelope).await
    }

    async fn flush(&self) -> Result<(), LayerError> {
        self.0.flush().await
    }
}

#[derive(NoEvents)]
struct Member;

impl Consumer for Member {
    fn groups(&self) -> Vec<GroupName> {
        vec![GroupName::new("room").unwrap()]
    }
}

#[actix_web::test]
async fn the_time_of_connect_includes_the_joins_before_it() {
    pause();
    let limits = Limits::new().connect_timeout(Duration::from_secs(3));
    let layer = Layer::new(Silent(MemoryLayer::new()));
    let mount = Mount::new(UrlRouter::new().route("/", |_: &Scope| Ok(Member))).unwrap();
    let mut client = WebsocketCommunicator::new(&mount.limits(limits).layer(layer), "/");
    let start = Instant::now();
    let refused = client.connect().await.unwrap_err();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().any(|(name, _)| name == "retry-after"), "the client learns when to try again");
    assert_eq!(start.elapsed().as_secs(), 3);
}
