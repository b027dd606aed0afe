use greenroom::{Consumer, Context, Message, NoEvents, Result};

#[derive(NoEvents)]
struct Chat;

impl Consumer for Chat {
    async fn receive(&mut self, _message: Message, ctx: &mut Context) -> Result<()> {
        let client = ctx.handle();
        std::thread::spawn(move || client.send_text("from a thread"));
        Ok(())
    }
}

fn main() {}
