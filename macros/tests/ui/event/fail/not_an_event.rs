use greenroom::Envelope;

struct Plain;

fn main() {
    let _ = Envelope::new(Plain);
}
