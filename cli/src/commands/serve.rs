//! `lore serve`: a base and its modules over HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lore_serve::{Limits, Server, ServerConfig, Service};

use crate::error::{Error, Result};
use crate::location::Location;
use crate::models::load_model;
use crate::on_demand::{EngineOptions, LibraryOptions};
use crate::quantity;
use crate::session::Session;

/// Where the token of a server is looked for, if no file is named.
const TOKEN_VARIABLE: &str = "LORE_SERVE_TOKEN";
/// Characters of a token that is not guessed at once.
const SHORTEST_TOKEN: usize = 16;

/// Serve a base and a library of modules to OpenAI's clients
///
/// The model name of a request chooses the modules: `base`, `base+geography`, `base+geography=0.5+history`, `auto`.
/// The address is printed when the server listens. It ends on SIGINT or SIGTERM when the requests that run are
/// answered, at once on the second. docs/serve.md says what is understood.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lore serve --base runs/quickstart/base --library runs/quickstart/modules
  curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' \\
      -d '{\"model\": \"base+geography\", \"prompt\": \"The capital of Mongolia is\", \"temperature\": 0}'")]
pub struct ServeArguments {
    /// The base: a directory, a GGUF file or a source
    #[arg(long, value_name = "DIR")]
    base: Location,
    #[command(flatten)]
    library: LibraryOptions,
    /// Use modules trained on another base, or that do not say on which; shapes must fit all the same
    #[arg(long)]
    allow_base_mismatch: bool,
    /// Address to listen on; one that other machines can reach needs a token
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 is any free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// File with the token that clients must send [default: $LORE_SERVE_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Texts written at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Tokens of a prompt and its answer together [default: the model's positions, at most 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    context: Option<u32>,
    /// Prompts that may wait; more are told to come again
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Size of a request at most
    #[arg(long, value_name = "SIZE", default_value = "4MB", value_parser = quantity::parse_bytes)]
    max_body: u64,
    /// Seconds that requests may still run when the server ends
    #[arg(long, value_name = "N", default_value_t = 30)]
    grace: u16,
}

/// Serves until a signal ends it.
///
/// # Errors
/// A model or library that cannot be read; an address that cannot be listened on; requests that were cut off.
pub fn serve(arguments: &ServeArguments, session: &Session) -> Result<()> {
    let token = token(arguments.token_file.as_deref())?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    if token.is_none() && !address.ip().is_loopback() {
        return Err(Error::Usage(format!(
            "--host {}: other machines can reach it, so clients must send a token: --token-file FILE or {TOKEN_VARIABLE}",
            arguments.host
        )));
    }
    let stop = Arc::new(AtomicBool::new(false));
    end_on_signals(&stop)?;
    let model = load_model(&arguments.base.resolve(session)?, &session.device.device()?)?;
    let options = EngineOptions {
        parallel: arguments.parallel,
        context: arguments.context,
        queue: arguments.queue,
        allow_base_mismatch: arguments.allow_base_mismatch,
    };
    let engine = arguments.library.engine(model, &options, session)?;
    let names = engine.folders().map_err(Error::Failed)?.into_keys().collect::<Vec<String>>();
    let config = engine.config();
    let limits = Limits { body: usize::try_from(arguments.max_body).unwrap_or(usize::MAX), ..Limits::default() };
    let server = ServerConfig {
        address,
        limits,
        connections: arguments.connections.into(),
        grace: Duration::from_secs(arguments.grace.into()),
    };
    let server = Server::bind(server, Service::new(engine, token)).map_err(Error::while_doing("serving"))?;
    let modules = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    session.progress.note(&format!(
        "modules: {modules}; {} texts at once of up to {} tokens; stop with Ctrl-C",
        config.slots, config.context
    ));
    println!("http://{}/v1", server.address());
    if server.run(&stop) {
        session.progress.note("ended");
        Ok(())
    } else {
        Err(Error::Failed(format!("requests that still ran after {} s were cut off", arguments.grace)))
    }
}

/// The first signal sets `stop`, the second ends the program.
fn end_on_signals(stop: &Arc<AtomicBool>) -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(Error::while_doing("listening to signals"))?;
    }
    Ok(())
}

fn token(file: Option<&Path>) -> Result<Option<String>> {
    let (place, text) = match (file, std::env::var(TOKEN_VARIABLE)) {
        (Some(path), _) => (path.display().to_string(), std::fs::read_to_string(path).map_err(Error::io(path))?),
        (None, Ok(text)) if !text.trim().is_empty() => (TOKEN_VARIABLE.to_owned(), text),
        (None, _) => return Ok(None),
    };
    let token = text.trim();
    if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Usage(format!(
            "{place}: the token must be at least {SHORTEST_TOKEN} characters of ASCII without spaces"
        )));
    }
    Ok(Some(token.to_owned()))
}
