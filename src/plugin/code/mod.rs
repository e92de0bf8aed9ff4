//! The bytes of a component: what they are, and the machine code that is made of them.
//!
//! | file | what |
//! |---|---|
//! | `component` | reads imports, exports and the author's manifest of a file, without running the file |
//! | `compile` | makes machine code in a child process and keeps it on disk |
//! | `bundled` | the plugins that come with the server |

pub mod bundled;
pub(crate) mod compile;
pub mod component;
