//! What operators see of this member.
//!
//! | file | what |
//! |---|---|
//! | `member_facts` | the figures and listings behind four letter words |
//! | `http` | the HTTP interface |
//! | `virtual_nodes` | paths below `/zookeeper/` that are no nodes of the tree |

mod http;
pub(super) mod member_facts;
pub(super) mod virtual_nodes;
