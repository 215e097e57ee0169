//! Users and access control lists: codes 3001 to 3010.

body! {
    /// One user.
    #[derive(Eq)]
    pub struct UserInfo {
        /// Password; never answered in clear.
        password: Option<String>,
        /// `enable` or `disable`.
        user_status: Option<String>,
        /// `Super` or `Normal`.
        user_type: Option<String>,
        /// Name.
        username: Option<String>,
    }
}

body! {
    /// One rule of a policy.
    #[derive(Eq)]
    pub struct PolicyEntryInfo {
        /// Actions, such as `Pub`.
        actions: Option<Vec<String>>,
        /// `Allow` or `Deny`.
        decision: Option<String>,
        /// Resource, such as `Topic:*`.
        resource: Option<String>,
        /// Addresses it counts for.
        source_ips: Option<Vec<String>>,
    }
}

body! {
    /// The rules of one type.
    #[derive(Eq)]
    pub struct PolicyInfo {
        /// Rules.
        entries: Option<Vec<PolicyEntryInfo>>,
        /// `Custom` or `Default`.
        policy_type: Option<String>,
    }
}

body! {
    /// The policies of a subject.
    #[derive(Eq)]
    pub struct AclInfo {
        /// Policies.
        policies: Option<Vec<PolicyInfo>>,
        /// Subject, such as `User:u`.
        subject: Option<String>,
    }
}
