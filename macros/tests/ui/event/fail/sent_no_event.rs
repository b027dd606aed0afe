use greenroom::{GroupName, Layer};

struct Plain;

async fn send(layer: &Layer, group: &GroupName) {
    let _ = layer.group_send(group, Plain).await;
    let _ = layer.group_send(group, &Plain).await;
}

fn main() {}
