use greenroom::{GroupName, Layer};

struct Plain;

fn send(layer: &Layer, group: &GroupName) {
    let _ = layer.group_send_blocking(group, Plain);
    let _ = layer.group_send_blocking(group, &Plain);
}

fn main() {}
