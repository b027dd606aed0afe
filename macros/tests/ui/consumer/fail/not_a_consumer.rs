use greenroom::{Consumer, NoEvents};

#[derive(NoEvents)]
struct Chat;

fn start<C: Consumer>(_: C) {}

fn main() {
    start(Chat);
}
