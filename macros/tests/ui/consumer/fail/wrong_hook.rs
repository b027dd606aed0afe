use greenroom::{Consumer, Context, Message, NoEvents, Result};

#[derive(NoEvents)]
struct Chat;

impl Consumer for Chat {
    fn receive(&mut self, _message: Message, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

fn main() {}
