//! A server in this process, for tests of what goes over the wire.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use restante::accounts::{Accounts, KeyOptions};
use restante::net::{ListenerKind, ListeningSocket};
use restante::registry::SessionReport;
use restante::server::Server;
use restante::settings::Config;
use restante::store::{Database, SqlStore, UserId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::place::Place;
use crate::support::{DEADLINE, eventually, mail};

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A running server on two ports of loopback, with a certificate. It stops when this is dropped.
pub(crate) struct Served {
    /// Where it speaks POP3.
    pub(crate) plain: SocketAddr,
    /// Where it speaks POP3 inside TLS.
    pub(crate) tls: SocketAddr,
    pub(crate) place: Place,
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// A user with a key.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) id: UserId,
    pub(crate) address: String,
    pub(crate) alias: String,
    pub(crate) key: String,
}

/// What lives on the server's thread.
pub(crate) struct Running {
    pub(crate) database: Database,
    server: RefCell<Option<Rc<Server>>>,
}

type Order = Box<dyn FnOnce(Rc<Running>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

impl Served {
    /// Starts a server on this database, with these settings.
    pub(crate) fn start(place: Place, settings: &[(&str, &str)]) -> Self {
        let certificate = certificate_file(place.folder.path());
        let certificate = certificate.to_str().unwrap().to_owned();
        let ours = ("Pop3__CertificatePath".to_owned(), certificate);
        Self::start_as(place, settings, Some(ours))
    }

    /// Starts a server with the certificates that these settings name. Without any it has no port for TLS.
    pub(crate) fn start_with_its_own(place: Place, settings: &[(&str, &str)]) -> Self {
        Self::start_as(place, settings, None)
    }

    fn start_as(
        place: Place,
        settings: &[(&str, &str)],
        certificate: Option<(String, String)>,
    ) -> Self {
        // Wrong keys come from the one address that all tests share.
        let delay = ("Pop3__AuthFailureDelay", "0");
        let delay = Some(delay).filter(|(name, _)| settings.iter().all(|(set, _)| set != name));
        let settings = settings
            .iter()
            .chain(&delay)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .chain(certificate)
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(None, settings).unwrap().config;
        let has_certificate = !config.pop3.certificate_path.is_empty();
        let url = place.url.clone();
        let (orders, received) = unbounded_channel::<Order>();
        let (tell, told) = mpsc::channel();
        let kinds = [ListenerKind::Pop3, ListenerKind::Pop3s];
        let kinds = kinds[..if has_certificate { 2 } else { 1 }].to_vec();
        let thread = std::thread::spawn(move || {
            let serving = serve(&url, &config, &kinds, tell, received);
            actix_rt::System::new().block_on(serving);
        });
        let addresses = told.recv_timeout(DEADLINE).unwrap();
        Self {
            plain: addresses[0],
            tls: *addresses.last().unwrap(),
            place,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// Does something on the server's thread, and waits until it is done.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        order: impl AsyncFnOnce(&Running) -> T + Send + 'static,
    ) -> T {
        let answer = self.begin(order);
        answer.recv_timeout(DEADLINE).expect("the server answers")
    }

    /// Begins to do something on the server's thread.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        order: impl AsyncFnOnce(&Running) -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (reply, answer) = mpsc::channel();
        let order: Order = Box::new(move |running| {
            Box::pin(async move {
                // The caller may have stopped waiting.
                drop(reply.send(order(&running).await));
            })
        });
        let sent = self.orders.as_ref().unwrap().send(order);
        assert!(sent.is_ok(), "the server's thread is there");
        answer
    }

    /// Adds a user of whom nobody has heard, with these messages.
    pub(crate) fn owner(&self, messages: &[Vec<u8>]) -> Owner {
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let address = format!("ada{number}@example.com");
        let alias = format!("lovelace{number}@example.com");
        let messages = messages.to_vec();
        self.ask(async move |running| {
            let accounts = Accounts::new(running.database.clone());
            let id = accounts.add(&address, std::slice::from_ref(&alias)).await;
            let id = id.unwrap();
            let key = mail::key(&running.database, &address).await;
            mail::store(&running.database, &[id], &messages).await;
            Owner {
                id,
                address,
                alias,
                key,
            }
        })
    }

    /// Makes one more key of a user.
    pub(crate) fn new_key(&self, owner: &Owner, options: KeyOptions) -> String {
        let address = owner.address.clone();
        self.ask(async move |running| {
            let accounts = Accounts::new(running.database.clone());
            accounts.create_key(&address, options).await.unwrap().key
        })
    }

    /// The unique-ids of all messages in a maildrop, oldest first, as storage has them.
    pub(crate) fn stored(&self, owner: &Owner) -> Vec<String> {
        let id = owner.id;
        self.ask(async move |running| stored(&running.database, id).await)
    }

    /// What the live sessions are doing.
    pub(crate) fn sessions(&self) -> Vec<SessionReport> {
        self.ask(async |running| running.server().sessions().await)
    }

    /// Waits until so many sessions are here.
    pub(crate) fn wait_for_sessions(&self, count: usize) {
        let ask = || (self.sessions().len() == count).then_some(());
        eventually(&format!("{count} sessions"), ask);
    }

    /// Ends a session; false if there is none of this name.
    pub(crate) fn end_session(&self, id: &str) -> bool {
        let id = id.to_owned();
        self.ask(async move |running| running.server().end_session(&id).await)
    }

    /// Begins to stop the server, with so long for its sessions; then waits to be asked.
    pub(crate) fn begin_to_stop(&self, timeout: Duration) -> mpsc::Receiver<()> {
        self.begin(async move |running| running.stop(timeout).await)
    }

    /// A connection to the plain port that has been greeted.
    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.plain).greeted()
    }

    /// A connection to the TLS port that has been greeted.
    pub(crate) fn connect_tls(&self) -> Wire {
        Wire::connect(self.tls).start_tls().greeted()
    }

    /// A session on the plain port that is logged in.
    pub(crate) fn login(&self, owner: &Owner) -> Wire {
        self.connect().logged_in(owner)
    }

    /// A session on the TLS port that is logged in.
    pub(crate) fn login_tls(&self, owner: &Owner) -> Wire {
        self.connect_tls().logged_in(owner)
    }
}

async fn serve(
    url: &str,
    config: &Config,
    kinds: &[ListenerKind],
    tell: mpsc::Sender<Vec<SocketAddr>>,
    mut received: UnboundedReceiver<Order>,
) {
    let database = Database::open(url).await.unwrap();
    database.migrate().await.unwrap();
    let bound = kinds
        .iter()
        .map(|kind| ListeningSocket::tcp(Some(HERE), 0, *kind));
    let bound = bound.collect::<Result<_, _>>().unwrap();
    let server = Server::start(config, database.clone(), bound).unwrap();
    tell.send(server.addresses().to_vec()).unwrap();
    let server = RefCell::new(Some(Rc::new(server)));
    let running = Rc::new(Running { database, server });
    while let Some(order) = received.recv().await {
        actix_rt::spawn(order(Rc::clone(&running)));
    }
    running.stop(Duration::ZERO).await;
}

impl Drop for Served {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server's thread has panicked");
        }
    }
}

impl Running {
    /// The server itself.
    pub(crate) fn server(&self) -> Rc<Server> {
        Rc::clone(self.server.borrow().as_ref().expect("the server runs"))
    }

    async fn stop(&self, timeout: Duration) {
        let server = self.server.take().and_then(Rc::into_inner);
        if let Some(server) = server {
            server.stop(timeout).await;
        }
    }
}

/// The unique-ids of all messages in a maildrop, oldest first.
pub(crate) async fn stored(database: &Database, user: UserId) -> Vec<String> {
    let store = SqlStore::new(database.clone(), restante::identity::new_name());
    let snapshot = Arc::clone(&store.open(user, 0).await.unwrap().snapshot);
    let ids = (1..=snapshot.len() as u64).map(|number| {
        let number = pop3::MessageNumber::new(number).unwrap();
        snapshot.unique_id_of(number).unwrap().to_owned()
    });
    ids.collect()
}

/// A self-signed certificate for localhost, and what trusts it.
static CERTIFICATE: LazyLock<(String, Arc<ClientConfig>)> = LazyLock::new(|| {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let key = certified.signing_key.serialize_pem();
    let mut roots = RootCertStore::empty();
    let der: &CertificateDer<'_> = certified.cert.der();
    roots.add(der.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (certified.cert.pem() + &key, Arc::new(config))
});

/// Writes the certificate and its key into one file of this folder.
pub(crate) fn certificate_file(folder: &Path) -> PathBuf {
    let file = folder.join("certificate.pem");
    std::fs::write(&file, &CERTIFICATE.0).unwrap();
    file
}

/// A connection, in clear or inside TLS.
pub(crate) struct Wire {
    stream: BufReader<Stream>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Connects. Nothing is read yet.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
    }

    /// Speaks over this connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(Stream::Plain(stream)),
        }
    }

    /// Shakes hands.
    pub(crate) fn start_tls(self) -> Self {
        self.try_start_tls().unwrap()
    }

    /// Shakes hands, if the server does.
    pub(crate) fn try_start_tls(self) -> std::io::Result<Self> {
        let unread = self.stream.buffer();
        assert!(unread.is_empty(), "in clear before TLS: {unread:?}");
        let Stream::Plain(tcp) = self.stream.into_inner() else {
            panic!("TLS has begun already");
        };
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(&CERTIFICATE.1), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            stream: BufReader::new(Stream::Tls(Box::new(stream))),
        })
    }

    /// What binds an exchange to this connection by `tls-exporter` (RFC 9266).
    pub(crate) fn exported(&self) -> [u8; 32] {
        let Stream::Tls(stream) = self.stream.get_ref() else {
            panic!("there is no TLS");
        };
        let label = b"EXPORTER-Channel-Binding";
        let exported = stream
            .conn
            .export_keying_material([0; 32], label, Some(b""));
        exported.unwrap()
    }

    /// Reads the greeting.
    pub(crate) fn greeted(mut self) -> Self {
        let greeting = self.line();
        assert!(greeting.starts_with("+OK"), "{greeting}");
        self
    }

    /// Logs in.
    pub(crate) fn logged_in(mut self, owner: &Owner) -> Self {
        let answer = self.try_login(owner);
        assert!(answer.starts_with("+OK"), "{answer}");
        self
    }

    /// The answer to PASS.
    pub(crate) fn try_login(&mut self, owner: &Owner) -> String {
        self.ok(&format!("USER {}", owner.address));
        self.command(&format!("PASS {}", owner.key))
    }

    /// Sends octets.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).unwrap();
    }

    /// Sends octets, to a server that may be gone.
    pub(crate) fn try_send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(octets)?;
        stream.flush()
    }

    /// Sends a line and reads a line, both without their CRLF.
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.line()
    }

    /// Sends a line whose reply must be positive, and returns its first line.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        let reply = self.command(line);
        assert!(reply.starts_with("+OK"), "{line}: {reply}");
        reply
    }

    /// Sends a line whose reply must be positive and of several lines: these without their dots.
    pub(crate) fn body(&mut self, line: &str) -> Vec<u8> {
        self.ok(line);
        self.read_body()
    }

    /// Reads lines up to the final dot, and takes the byte-stuffing off.
    pub(crate) fn read_body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let start = body.len();
            self.stream.read_until(b'\n', &mut body).unwrap();
            let line = &body[start..];
            assert!(line.ends_with(b"\r\n"), "the reply ends in a line");
            if line == b".\r\n" {
                body.truncate(start);
                return body;
            }
            if line.starts_with(b".") {
                body.remove(start);
            }
        }
    }

    /// Reads one line, without its CRLF.
    pub(crate) fn line(&mut self) -> String {
        let line = self.raw_line().unwrap();
        let line = line.strip_suffix(b"\r\n").expect("a line ends with CRLF");
        String::from_utf8_lossy(line).into_owned()
    }

    /// Reads one line with its line end; nothing means that the connection is closed.
    pub(crate) fn raw_line(&mut self) -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// Reads so many octets.
    pub(crate) fn exactly(&mut self, octets: usize) -> std::io::Result<Vec<u8>> {
        let mut read = vec![0; octets];
        self.stream.read_exact(&mut read)?;
        Ok(read)
    }

    /// Reads what is there, at least one octet; nothing means that the connection is closed.
    pub(crate) fn some(&mut self) -> std::io::Result<Vec<u8>> {
        let read = self.stream.fill_buf()?.to_vec();
        self.stream.consume(read.len());
        Ok(read)
    }

    /// Reads what is there, at least one octet.
    pub(crate) fn more(&mut self) -> Vec<u8> {
        let read = self.some().unwrap();
        assert!(!read.is_empty(), "the server has closed the connection");
        read
    }

    /// Reads the rest of a reply of several lines, as it comes, with its final dot.
    pub(crate) fn read_stuffed(&mut self, mut begun: Vec<u8>) -> Vec<u8> {
        while !begun.ends_with(b"\r\n.\r\n") {
            begun.extend(self.more());
        }
        begun
    }

    /// Reads until the server closes the connection.
    pub(crate) fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Says that nothing more will be sent, and reads what the server still has to say.
    pub(crate) fn finish(mut self) -> std::io::Result<Vec<u8>> {
        self.no_more();
        self.read_to_end()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn no_more(&mut self) {
        match self.stream.get_mut() {
            // The server may be gone already.
            Stream::Plain(tcp) => drop(tcp.shutdown(Shutdown::Write)),
            Stream::Tls(tls) => {
                tls.conn.send_close_notify();
                drop(tls.flush());
            }
        }
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self.stream.get_ref() {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(octets),
            Self::Tls(tls) => tls.write(octets),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
