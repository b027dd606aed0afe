//! `greenroom send` and `greenroom listen`: events from a terminal or a cron job (feature `cli`).

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Read, Write},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use greenroom::{
    ChannelName, Delivery, Envelope, Error, GroupName, Layer, LayerConfig, Result,
    event::Format,
    layers::{LayerGap, OpenOptions},
};
use serde_json::{Map, Value};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How many events may wait for the terminal.
const WAITING: usize = 10_000;
/// How often the membership of a listener is renewed: it expires after a day.
const RENEWAL: Duration = Duration::from_secs(3600);

/// Sends events to the groups of a channel layer, and shows what is sent to them.
#[derive(Parser)]
#[command(name = "greenroom", version)]
struct Options {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Action,
}

/// How to reach the server. This must be the same as in the other programs that use it.
#[derive(Args)]
struct ServerArgs {
    /// The layer's URL: redis://…, redis-pubsub://…, nats://… and similar; with commas between several servers.
    #[arg(
        long,
        global = true,
        env = "GREENROOM_LAYER",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    layer: String,
    /// The start of all names on the server, if it is not the layer's default.
    #[arg(long, global = true, env = "GREENROOM_PREFIX")]
    prefix: Option<String>,
    /// Writes messages as JSON, as channels_redis does with `"serializer_format": "json"`.
    #[arg(long, global = true)]
    json: bool,
    /// The key of `symmetric_encryption_keys`; with commas between several, the first of them encrypts.
    #[arg(long, global = true, env = "GREENROOM_KEYS", hide_env_values = true, value_delimiter = ',')]
    keys: Vec<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Sends one event.
    ///
    /// The exit code is 1 if the server did not take the event. Prints on stderr how many receivers it was sent to,
    /// if the server tells. Another process counts as one, however many members it has.
    Send(SendArgs),
    /// Prints the events of a group, one line of JSON each, until Ctrl-C.
    Listen(ListenArgs),
}

#[derive(Args)]
struct SendArgs {
    /// The group; with --channel, the channel.
    group: String,
    /// The event's type, for example chat.message.
    r#type: String,
    /// The event's other fields, for example '{"user": "cron", "text": "hi"}'; - reads them from stdin.
    #[arg(default_value = "{}")]
    fields: String,
    /// Sends to a channel instead of a group, for example to one that a worker reads.
    #[arg(long)]
    channel: bool,
    /// Prints nothing if the server took the event.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
struct ListenArgs {
    /// The group.
    group: String,
    /// Ends after this many events.
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// Ends after this many seconds without an event, with the exit code 1.
    #[arg(long, short)]
    timeout: Option<f64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run(options))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("greenroom: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode> {
    // The arguments are checked first, because that needs no server.
    match options.command {
        Action::Send(send) => {
            let (to, envelope) = (destination(&send)?, event(&send)?);
            let layer = open(&options.server).await?;
            // NATS does not tell how many members a group has.
            let url = options.server.layer.trim_start().to_ascii_lowercase();
            let counts = !url.starts_with("nats:") && !url.starts_with("tls:");
            let sent = deliver(&layer, &send, &to, envelope, counts).await;
            layer.close().await;
            sent.map(|()| ExitCode::SUCCESS)
        }
        Action::Listen(listen) => {
            let group = GroupName::new(&listen.group)?;
            let timeout = listen.timeout.map(Duration::try_from_secs_f64).transpose()?;
            let layer = open(&options.server).await?;
            let heard = show(&layer, &group, listen.count, timeout).await;
            layer.close().await;
            heard
        }
    }
}

async fn open(server: &ServerArgs) -> Result<Layer> {
    if server.layer.trim().eq_ignore_ascii_case("memory") {
        return Err(Error::msg(
            "--layer memory exists only inside one process: name a server that other programs use too",
        ));
    }
    let config = LayerConfig::new().capacity(WAITING);
    let mut options =
        OpenOptions::new().layer(config).encryption_keys(server.keys.iter().map(String::as_str));
    if let Some(prefix) = &server.prefix {
        options = options.prefix(prefix);
    }
    if server.json {
        options = options.serializer(Format::Json);
    }
    let layer = Layer::open_with(&server.layer, options.must_publish()).await?;
    // Logging starts only now: if the server is away at the start, the error says so already.
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::WARN.into())
        .from_env_lossy();
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
    Ok(layer)
}

/// Makes the event from the arguments.
fn event(send: &SendArgs) -> Result<Envelope> {
    let mut text = String::new();
    if send.fields == "-" {
        io::stdin().read_to_string(&mut text)?;
    } else {
        text.clone_from(&send.fields);
    }
    let fields: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        Error::msg(format!("the fields are not a JSON object like '{{\"text\": \"hi\"}}': {error}"))
    })?;
    if fields.contains_key("type") {
        return Err(Error::msg("the fields contain a `type`: give it only as the second argument"));
    }
    // The text itself is used, because a map would sort its names.
    let fields = text.trim().trim_start_matches('{').trim_start();
    let comma = if fields == "}" { "" } else { "," };
    Ok(Envelope::from_json(format!("{{\"type\":{}{comma}{fields}", Value::String(send.r#type.clone())))?)
}

/// Where an event is sent to.
enum Destination {
    Channel(ChannelName),
    Group(GroupName),
}

fn destination(send: &SendArgs) -> Result<Destination> {
    Ok(if send.channel {
        Destination::Channel(ChannelName::new(&send.group)?)
    } else {
        Destination::Group(GroupName::new(&send.group)?)
    })
}

async fn deliver(
    layer: &Layer,
    send: &SendArgs,
    to: &Destination,
    envelope: Envelope,
    counts: bool,
) -> Result<()> {
    let told = match to {
        Destination::Channel(channel) => {
            layer.send(channel, envelope).await?;
            "sent to the channel".to_owned()
        }
        Destination::Group(group) => {
            let Delivery { delivered, dropped, .. } = layer.group_send_counted(group, envelope).await?;
            match (delivered, dropped) {
                _ if !counts => "sent".to_owned(),
                (0, 0) => "nobody is in the group".to_owned(),
                (_, 0) => format!("sent to {delivered}"),
                _ => format!("sent to {delivered}; {dropped} more missed it, because they were full"),
            }
        }
    };
    if !send.quiet {
        eprintln!("{} {}: {told}", send.r#type, send.group);
    }
    Ok(())
}

/// Prints the events of a group, until the end that the arguments ask for.
async fn show(
    layer: &Layer,
    group: &GroupName,
    count: Option<u64>,
    timeout: Option<Duration>,
) -> Result<ExitCode> {
    let channel = layer.new_channel().await?;
    let mut renewal = interval(RENEWAL);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let (mut left, mut lost) = (count, 0);
    let mut quiet = pin!(sleep(timeout.unwrap_or_default()));
    let mut joined = false;
    while left != Some(0) {
        let event = tokio::select! {
            _ = renewal.tick() => {
                layer.group_add(group, &channel).await?;
                if !joined {
                    eprintln!("listening to {group}");
                    joined = true;
                }
                continue;
            }
            event = layer.receive(&channel), if joined => event?,
            interrupted = &mut interrupt => {
                interrupted?;
                break;
            }
            () = &mut quiet, if timeout.is_some() => {
                eprintln!("nothing came for {:?}", timeout.unwrap_or_default());
                return Ok(ExitCode::FAILURE);
            }
        };
        quiet.set(sleep(timeout.unwrap_or_default()));
        let full = layer.metrics().queue_full;
        if full > lost {
            eprintln!("{} events were lost, because they are read too slowly", full - lost);
            lost = full;
        }
        if let Ok(gap) = event.event::<LayerGap>()
            && event.name() == "layer.gap"
        {
            eprintln!("the server was away for {:.1} s: events may be missing", gap.seconds);
            continue;
        }
        match event.to_json() {
            // The program that reads stdout has ended: `| head` has read enough.
            Ok(line) if writeln!(io::stdout(), "{}", printable(&line)).is_err() => break,
            Ok(_) => left = left.map(|left| left - 1),
            Err(error) => eprintln!("an event cannot be shown: {}", printable(&error.to_string())),
        }
    }
    layer.group_discard(group, &channel).await?;
    Ok(ExitCode::SUCCESS)
}

/// Escapes what a terminal obeys instead of showing it: control characters, line breaks of Unicode, and marks that turn
/// the direction of the text. The escapes are those of JSON, so JSON stays the same JSON.
fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            // All of them have four digits.
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}
