use greenroom::Consumer;

struct Chat;

impl Consumer for Chat {}

fn main() {}
