//! The user that a server becomes when root has started it.

use anyhow::{Context, ensure};
use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, initgroups, setgid, setuid};

/// Advice for a server that runs as root.
pub(super) const INSTEAD_OF_ROOT: &str =
    "start it with `restante serve --user NAME`, or as a user of its own";

/// A user without root's rights.
#[derive(Debug)]
pub(super) struct ServiceUser {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Returns whether this process has root's rights.
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

impl ServiceUser {
    /// Looks the user up.
    ///
    /// # Errors
    /// If there is no such user, it is root, or this process may not become another user.
    pub(super) fn find(name: &str) -> anyhow::Result<Self> {
        ensure!(
            is_root(),
            "--user {name}: only root can become another user; leave --user out, or start it as root"
        );
        let user = User::from_name(name);
        let user = user.with_context(|| format!("--user {name}: the user can't be looked up"))?;
        let user = user.with_context(|| {
            format!(
                "--user {name}: there is no such user (adduser --system --group {name} adds it)"
            )
        })?;
        ensure!(
            !user.uid.is_root(),
            "--user {name}: this user is root; name one without root's rights"
        );
        Ok(Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
        })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes this process, with all its threads, run as this user and its groups.
    ///
    /// # Errors
    /// If the system refuses, or if the process could become root again.
    pub(super) fn switch(&self) -> anyhow::Result<()> {
        let name = std::ffi::CString::new(self.name.as_str())?;
        let switched = initgroups(&name, self.gid)
            .and_then(|()| setgid(self.gid))
            .and_then(|()| setuid(self.uid));
        switched.with_context(|| format!("cannot become the user {}", self.name))?;
        // Each of the three user ids: one that is still root's would lead back.
        let (users, groups) = (getresuid()?, getresgid()?);
        let switched = [users.real, users.effective, users.saved] == [self.uid; 3]
            && [groups.real, groups.effective, groups.saved] == [self.gid; 3]
            && setuid(Uid::from_raw(0)).is_err();
        ensure!(
            switched,
            "the process has become the user {} but could become root again",
            self.name
        );
        tracing::info!(user = self.name, "running as this user from now on");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_user_that_exists_and_is_not_root_is_found() {
        let refusal = |name: &str| format!("{:#}", ServiceUser::find(name).unwrap_err());
        if is_root() {
            assert!(refusal("root").contains("this user is root"));
            assert!(refusal("nobody-of-this-name").contains("there is no such user"));
            assert_eq!(ServiceUser::find("nobody").unwrap().name(), "nobody");
        } else {
            assert!(refusal("nobody").contains("only root can become another user"));
        }
    }
}
