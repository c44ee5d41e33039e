//! Who listens: a thread for each connection, and an end that lets answers be finished.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::api::{ApiError, Service};
use crate::error::Error;
use crate::http::{Connection, Incoming, Limits, Responder};

/// How often it is looked whether the server should end.
const LOOK: Duration = Duration::from_millis(50);
/// How long connections may take to notice that their work was taken from them.
const LAST: Duration = Duration::from_secs(2);

/// Where a server listens and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// The address; port 0 is any free one.
    pub address: SocketAddr,
    /// What one connection may take.
    pub limits: Limits,
    /// Connections at once.
    pub connections: usize,
    /// How long requests may still run when the server ends.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            limits: Limits::default(),
            connections: 64,
            grace: Duration::from_secs(30),
        }
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: ServerConfig,
    service: Arc<Service>,
}

impl Server {
    /// Listens; nobody is answered before [`Server::run`].
    ///
    /// # Errors
    /// An address that other machines can reach, without a token; one that cannot be listened on.
    pub fn bind(config: ServerConfig, service: Service) -> Result<Self, Error> {
        let address = config.address;
        if !address.ip().is_loopback() && !service.has_token() {
            return Err(Error::TokenNeeded { address });
        }
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, address, config, service: Arc::new(service) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is set; then takes no more requests, and ends when those that run have been answered or
    /// their time is up. False if it was.
    pub fn run(self, stop: &Arc<AtomicBool>) -> bool {
        let Self { listener, address, config, service } = self;
        wake_at_the_end(address, stop.clone());
        let open = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // A connection that ended before it began is nobody's fault; too many open files pass.
            let Ok(stream) = stream else {
                std::thread::sleep(LOOK);
                continue;
            };
            let counted = Counted::new(&open);
            if counted.number > config.connections {
                refuse(&stream, &ApiError::http(503, "overloaded", "too many connections; try again in a moment"));
                continue;
            }
            let (service, stop) = (service.clone(), stop.clone());
            let serve = move || {
                let _counted = counted;
                serve(stream, &service, &config, &stop);
            };
            if std::thread::Builder::new().name("connection".to_owned()).spawn(serve).is_err() {
                std::thread::sleep(LOOK);
            }
        }
        drop(listener);
        let in_time = wait_for_none(&open, config.grace);
        if !in_time {
            service.engine.stop();
            wait_for_none(&open, LAST);
        }
        in_time
    }
}

/// Connections that are open, one of which ends with this.
struct Counted {
    open: Arc<AtomicUsize>,
    number: usize,
}

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        Self { open: open.clone(), number: open.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn wait_for_none(open: &AtomicUsize, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while open.load(Ordering::Relaxed) > 0 {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK / 5);
    }
    true
}

/// Waiting for a connection ends with one.
fn wake_at_the_end(address: SocketAddr, stop: Arc<AtomicBool>) {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
        // If it does not connect, nobody listens any more.
        let _ = TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), Duration::from_secs(1));
    });
}

fn refuse(stream: &TcpStream, error: &ApiError) {
    // A client that does not take it has gone.
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = Responder::last(stream).refuse(error);
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, service: &Service, config: &ServerConfig, stop: &AtomicBool) {
    let Ok(mut connection) = Connection::new(stream) else { return };
    loop {
        match connection.next(&config.limits, stop) {
            Incoming::End => return,
            Incoming::Refused(error) => {
                refuse(&connection.stream, &error);
                return connection.linger();
            }
            Incoming::Request(request) => {
                let mut out = Responder::to(&request, &connection.stream, !stop.load(Ordering::Relaxed));
                if service.answer(&request, &mut out).is_err() || !out.keep_alive {
                    return;
                }
            }
        }
    }
}
