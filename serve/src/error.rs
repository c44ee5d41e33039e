//! Why a server does not start or ends.

use std::error::Error as StdError;
use std::net::SocketAddr;

/// A server that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Whoever reaches the address could use the model.
    #[error("{address} can be reached from other machines: set a token that clients must send, or listen on 127.0.0.1")]
    TokenNeeded {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// An error and its causes in one sentence; a cause that its consequence already tells is left out.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
