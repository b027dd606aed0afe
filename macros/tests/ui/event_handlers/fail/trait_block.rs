use greenroom::{Consumer, Context, Result, event_handlers};

struct Chat;

// The hook is not reported as a handler with mistakes.
#[event_handlers]
impl Consumer for Chat {
    async fn connect(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.accept()
    }
}

fn main() {}
