//! The HTTP service of a photo search, and its page.
//!
//! [`Service::bind`] opens an address, and [`Service::run`] answers requests until it is told to stop:
//!
//! ```text
//! /                            the page
//! /v1/search                   photos that show what a query says; or look like a photo of the index
//! /v1/search/photo             photos that look like an uploaded photo
//! /v1/explain                  where one photo shows each word of a query
//! /v1/photos/{id}              what the index knows of a photo; DELETE removes it from the index
//! /v1/photos/{id}/thumbnail    a small JPEG
//! /v1/photos/{id}/original     the file
//! /v1/index                    what the index holds; POST updates it
//! /health /ready /metrics      for programs that watch the service
//! /openapi.json /docs          the description of all this, for programs and for people
//! ```
//!
//! One thread holds the model and searches (`queue`); a second encodes uploaded photos (`encoder`). Both
//! have bounded queues: what does not fit is refused with status 429 rather than kept waiting. `guard`
//! decides who may ask. Each answer is read from the index as it is at that moment, so photos
//! that another process adds are found without a restart.

mod api;
mod connections;
mod describe;
mod encoder;
mod error;
mod guard;
mod metrics;
mod page;
mod problem;
mod queue;
mod service;
mod state;
mod updates;

pub use encoder::{EncodeError, EncodePhoto};
pub use error::{Error, Result};
pub use service::{Service, ServiceConfig, ServiceParts};
pub use updates::IndexUpdate;
