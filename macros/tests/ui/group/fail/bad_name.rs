use greenroom::{GroupName, group};

fn main() {
    let _: GroupName = group!("breaking news");
}
