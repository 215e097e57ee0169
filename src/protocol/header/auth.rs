//! Users and access control lists: codes 3001 to 3010.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Names a user (codes 3001 to 3004).
    pub struct UserRequestHeader {
        /// User.
        username: Option<Str> => "username",
    }
}

command_header! {
    /// Asks for users (code 3005).
    pub struct ListUsersRequestHeader {
        /// Text that names have to contain.
        filter: Option<Str> => "filter",
    }
}

command_header! {
    /// Names a subject (codes 3006, 3007 and 3009).
    pub struct AclRequestHeader {
        /// Subject of the policies.
        subject: Option<Str> => "subject",
    }
}

command_header! {
    /// Deletes policies (code 3008).
    pub struct DeleteAclRequestHeader {
        /// Subject of the policies.
        subject: Option<Str> => "subject",
        /// Type of the policy.
        policy_type: Option<Str> => "policyType",
        /// Resource of the policy.
        resource: Option<Str> => "resource",
    }
}

command_header! {
    /// Asks for policies (code 3010).
    pub struct ListAclsRequestHeader {
        /// Text that subjects have to contain.
        subject_filter: Option<Str> => "subjectFilter",
        /// Text that resources have to contain.
        resource_filter: Option<Str> => "resourceFilter",
    }
}
