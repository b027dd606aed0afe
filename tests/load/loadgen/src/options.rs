//! The command line.

use crate::MIN_PAYLOAD;

pub(crate) struct Opt {
    pub(crate) mode: String,
    /// The ports of the servers. If there are several, each has its share of every room.
    pub(crate) ports: Vec<u16>,
    pub(crate) path: String,
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    pub(crate) senders: usize,
    pub(crate) payload: usize,
    pub(crate) duration: f64,
    pub(crate) warmup: f64,
    pub(crate) rate: f64,
    pub(crate) window: u32,
    pub(crate) conns: usize,
    pub(crate) hold: f64,
    pub(crate) cpu: i32,
    pub(crate) pids: Vec<i32>,
    /// The processes that the servers use, such as Redis. Their CPU time is printed separately.
    pub(crate) beside: Vec<i32>,
    pub(crate) label: String,
    pub(crate) par: usize,
    pub(crate) settle: f64,
    pub(crate) drain: f64,
    pub(crate) headers: Vec<String>,
    pub(crate) stall_ms: u64,
    pub(crate) ack_all: bool,
    pub(crate) close_grace_ms: u64,
}
pub(crate) fn parse_opts() -> Opt {
    let mut o = Opt {
        mode: String::new(),
        ports: vec![],
        path: "/room/{}/".into(),
        rooms: 1,
        members: 100,
        senders: 1,
        payload: 128,
        duration: 3.0,
        warmup: 0.7,
        rate: 0.0,
        window: 1,
        conns: 100,
        hold: 10.0,
        cpu: 1,
        pids: vec![],
        beside: vec![],
        label: String::new(),
        par: 32,
        settle: 0.5,
        drain: 15.0,
        headers: vec![],
        stall_ms: 5000,
        ack_all: false,
        close_grace_ms: 5,
    };
    let mut a = std::env::args().skip(1);
    o.mode = a.next().expect("usage: loadgen fanout|echo|idle|churn --port P [options]");
    while let Some(k) = a.next() {
        let v = a.next().unwrap_or_else(|| panic!("{k} needs a value"));
        let f = || v.parse::<f64>().expect("number");
        let u = || v.parse::<usize>().expect("integer");
        match k.as_str() {
            "--port" => o.ports = v.split(',').map(|port| port.parse().expect("port")).collect(),
            "--path" => o.path = v,
            "--rooms" => o.rooms = u(),
            "--members" => o.members = u(),
            "--senders" => o.senders = u(),
            "--payload" => o.payload = u(),
            "--duration" => o.duration = f(),
            "--warmup" => o.warmup = f(),
            "--rate" => o.rate = f(),
            "--window" => o.window = u() as u32,
            "--conns" => o.conns = u(),
            "--hold" => o.hold = f(),
            "--cpu" => o.cpu = v.parse().unwrap(),
            "--label" => o.label = v,
            "--par" => o.par = u(),
            "--settle" => o.settle = f(),
            "--drain" => o.drain = f(),
            "--stall-ms" => o.stall_ms = u() as u64,
            "--pid" => o.pids.extend(pids(&v)),
            "--beside" => o.beside.extend(pids(&v)),
            "--header" => o.headers.push(v),
            "--ack" => o.ack_all = v == "all",
            "--close-grace-ms" => o.close_grace_ms = u() as u64,
            _ => panic!("unknown option {k}"),
        }
    }
    o.payload = o.payload.max(MIN_PAYLOAD);
    assert!(!o.ports.is_empty(), "--port says where the server is");
    o
}

fn pids(text: &str) -> impl Iterator<Item = i32> + '_ {
    text.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().expect("a process id"))
}
