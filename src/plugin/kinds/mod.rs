//! What each kind of plugin is asked, and what its answers mean.
//!
//! | file | what |
//! |---|---|
//! | `judge` | the plugins as the pipeline asks them about a write |
//! | `validators` | the answers of validators |
//! | `recipes` | the answers of recipes, in the pipeline's types |
//! | `policies` | which policies are asked, and what their answers mean together |
//! | `authenticators` | logins, and which identities an ACL entry means |
//! | `audit` | what a validator says of nodes that exist already |

pub(crate) mod audit;
pub(crate) mod authenticators;
pub(crate) mod judge;
pub(crate) mod policies;
mod recipes;
mod validators;
