use greenroom::{Consumer, Context, GroupName, Message, NoEvents, Result, close::Disconnect};

#[derive(NoEvents)]
struct Chat<T>(T);

impl<T: 'static> Consumer for Chat<T> {
    const LAYER: &'static str = "other";

    fn groups(&self) -> Vec<GroupName> {
        Vec::new()
    }

    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()
    }

    async fn receive(&mut self, _message: Message, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }

    async fn disconnect(&mut self, _reason: Disconnect, _ctx: &mut Context) {}
}

#[test]
fn compiles() {}
