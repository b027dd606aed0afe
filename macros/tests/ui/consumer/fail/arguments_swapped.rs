use greenroom::{Consumer, Context, Message, NoEvents, Result};

#[derive(NoEvents)]
struct Chat;

impl Consumer for Chat {
    async fn receive(&mut self, ctx: &mut Context, message: Message) -> Result<()> {
        ctx.send_text(message.text()?.to_owned())
    }
}

fn main() {}
