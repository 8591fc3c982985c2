//! Deliveries over LMTP: sessions that each give one message after the other, a transaction each.
//!
//! As Postfix does, MAIL, RCPT and DATA go in one write and the message after the 354. Every reply
//! is checked; anything but what a delivery needs is an error.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Barrier;

use crate::args::Args;
use crate::load::cpu_self;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Plan {
    port: u16,
    socket: Option<String>,
    users: u64,
    user: String,
    recipients: u64,
    conc: u64,
    threads: u64,
    count: u64,
    duration: Option<Duration>,
    size: usize,
    op_timeout: Duration,
}

struct Shared {
    ready: Barrier,
    done: Barrier,
    next: AtomicU64,
    begin: std::sync::OnceLock<Instant>,
}

#[derive(Default)]
struct Tally {
    ops: u64,
    micros: Vec<u32>,
    errors: u64,
    first: Option<String>,
}

pub fn main(argv: &[String]) -> Result<i32, String> {
    let a = Args::parse(argv, &[])?;
    let duration: f64 = a.num("duration", 0.0)?;
    let plan = Arc::new(Plan {
        port: a.num("port", 0)?,
        socket: a.get("socket"),
        users: a.num("users", 64)?,
        user: a.str("user", "u{}@example.com"),
        recipients: a.num("recipients", 1)?,
        conc: a.num("concurrency", 8)?,
        threads: a.num("threads", 2)?,
        count: a.num("count", u64::MAX)?,
        duration: (duration > 0.0).then(|| Duration::from_secs_f64(duration)),
        size: a.num("size", 4096)?,
        op_timeout: Duration::from_secs_f64(a.num("op-timeout", 60.0)?),
    });
    a.finish()?;
    if plan.duration.is_none() && plan.count == u64::MAX {
        return Err("--duration or --count is needed".into());
    }
    let threads = plan.threads.clamp(1, plan.conc);
    let shared = Arc::new(Shared {
        ready: Barrier::new(plan.conc as usize + 1),
        done: Barrier::new(plan.conc as usize + 1),
        next: AtomicU64::new(0),
        begin: Default::default(),
    });
    let handles: Vec<_> = (0..threads)
        .map(|t| {
            let (plan, shared) = (plan.clone(), shared.clone());
            std::thread::spawn(move || {
                let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                rt.block_on(async move {
                    let workers: Vec<_> = (t..plan.conc)
                        .step_by(threads as usize)
                        .map(|_| tokio::spawn(worker(plan.clone(), shared.clone())))
                        .collect();
                    let mut sum = Tally::default();
                    for w in workers {
                        let t = w.await.expect("a worker panicked");
                        sum.ops += t.ops;
                        sum.micros.extend(t.micros);
                        sum.errors += t.errors;
                        sum.first = sum.first.take().or(t.first);
                    }
                    sum
                })
            })
        })
        .collect();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (elapsed, cpu) = rt.block_on(async {
        shared.ready.wait().await;
        let c0 = cpu_self();
        eprintln!("READY");
        shared.done.wait().await;
        let elapsed = shared.begin.get().map(|b| b.elapsed()).unwrap_or_default();
        let c1 = cpu_self();
        eprintln!("DONE");
        (elapsed.as_secs_f64(), (c1.0 - c0.0) + (c1.1 - c0.1))
    });
    let mut sum = Tally::default();
    for h in handles {
        let t = h.join().map_err(|_| "a worker thread panicked".to_string())?;
        sum.ops += t.ops;
        sum.micros.extend(t.micros);
        sum.errors += t.errors;
        sum.first = sum.first.take().or(t.first);
    }
    sum.micros.sort_unstable();
    let at = |q: f64| sum.micros.get(((sum.micros.len() as f64 * q) as usize).min(sum.micros.len().saturating_sub(1)));
    let ms = |q: f64| at(q).map_or(0.0, |m| f64::from(*m) / 1000.0);
    println!(
        "{{\"mode\":\"lmtp\",\"ops\":{},\"errors\":{},\"first_error\":{:?},\"seconds\":{elapsed:.4},\"rate\":{:.2},\
         \"client_cores\":{:.3},\"latency_ms\":{{\"p50\":{:.3},\"p99\":{:.3},\"max\":{:.3}}}}}",
        sum.ops,
        sum.errors,
        sum.first.clone().unwrap_or_default(),
        sum.ops as f64 / elapsed.max(1e-9),
        cpu / elapsed.max(1e-9),
        ms(0.5),
        ms(0.99),
        ms(1.0),
    );
    Ok(if sum.errors > 0 { 3 } else { 0 })
}

async fn worker(plan: Arc<Plan>, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    let mut session = tokio::time::timeout(plan.op_timeout, Session::open(&plan)).await;
    shared.ready.wait().await;
    let begin = *shared.begin.get_or_init(Instant::now);
    while plan.duration.is_none_or(|d| begin.elapsed() < d) {
        let number = shared.next.fetch_add(1, Relaxed);
        if number >= plan.count {
            break;
        }
        let t0 = Instant::now();
        let outcome = match &mut session {
            Ok(Ok(s)) => tokio::time::timeout(plan.op_timeout, s.deliver(&plan, number)).await,
            Ok(Err(e)) => Ok(Err(e.clone())),
            Err(_) => Ok(Err("no greeting in time".into())),
        };
        match outcome {
            Ok(Ok(())) => {
                tally.ops += 1;
                tally.micros.push(t0.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
            }
            Ok(Err(e)) => tally.fault(e),
            Err(_) => tally.fault("no answer in time".into()),
        }
        if tally.errors > 0 {
            break; // the session is in no known state any more
        }
    }
    shared.done.wait().await;
    if let Ok(Ok(s)) = &mut session {
        let _ = s.ask(b"QUIT\r\n", "221").await;
    }
    tally
}

impl Tally {
    fn fault(&mut self, what: String) {
        self.errors += 1;
        self.first.get_or_insert(what);
    }
}

struct Session {
    io: BufReader<Box<dyn Stream>>,
    line: String,
}

impl Session {
    async fn open(plan: &Plan) -> Result<Self, String> {
        let stream: Box<dyn Stream> = match &plan.socket {
            Some(path) => Box::new(UnixStream::connect(path).await.map_err(|e| e.to_string())?),
            None => {
                let tcp = TcpStream::connect(("127.0.0.1", plan.port)).await.map_err(|e| e.to_string())?;
                tcp.set_nodelay(true).map_err(|e| e.to_string())?;
                Box::new(tcp)
            }
        };
        let mut s = Session { io: BufReader::new(stream), line: String::new() };
        s.reply("220").await?;
        s.ask(b"LHLO client.example.net\r\n", "250").await?;
        Ok(s)
    }

    async fn deliver(&mut self, plan: &Plan, number: u64) -> Result<(), String> {
        let mut commands = "MAIL FROM:<sender@example.net>\r\n".to_string();
        for r in 0..plan.recipients {
            let user = (number * plan.recipients + r) % plan.users;
            commands += &format!("RCPT TO:<{}>\r\n", plan.user.replace("{}", &user.to_string()));
        }
        commands += "DATA\r\n";
        self.io.get_mut().write_all(commands.as_bytes()).await.map_err(|e| e.to_string())?;
        self.reply("250").await?;
        for _ in 0..plan.recipients {
            self.reply("250").await?;
        }
        self.reply("354").await?;
        self.io.get_mut().write_all(&message(number, plan.size)).await.map_err(|e| e.to_string())?;
        for _ in 0..plan.recipients {
            self.reply("250").await?;
        }
        Ok(())
    }

    async fn ask(&mut self, command: &[u8], code: &str) -> Result<(), String> {
        self.io.get_mut().write_all(command).await.map_err(|e| e.to_string())?;
        self.reply(code).await
    }

    /// Reads a reply of one or more lines, which must have this code.
    async fn reply(&mut self, code: &str) -> Result<(), String> {
        loop {
            self.line.clear();
            if self.io.read_line(&mut self.line).await.map_err(|e| e.to_string())? == 0 {
                return Err("the connection was closed".into());
            }
            if !self.line.starts_with(code) || !self.line.ends_with("\r\n") {
                return Err(format!("{:?} instead of {code}", self.line));
            }
            if self.line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// A message of so many octets, different for each number, with its final dot.
fn message(number: u64, size: usize) -> Vec<u8> {
    let mut m = format!(
        "From: sender@example.net\r\nTo: user@example.com\r\nSubject: message {number}\r\n\
         Date: Sun, 29 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@example.net>\r\n\r\n"
    )
    .into_bytes();
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while m.len() + 80 < size {
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            m.extend(format!("{state:016x} ").bytes());
        }
        m.extend(b"text.text\r\n");
    }
    m.resize(size.saturating_sub(2).max(m.len()), b'x');
    m.extend(b"\r\n.\r\n");
    m
}
