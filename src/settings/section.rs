//! One table for each section: a line of it is all that a setting needs in code.

/// A setting: its name, and how it behaves.
#[derive(Debug)]
pub struct Setting {
    /// Its section and its key, such as `pop3.port`.
    pub path: &'static str,
    /// When a change of it takes effect.
    pub change: Change,
    /// True if the file may give it as a list.
    pub(super) takes_lists: bool,
    /// The setting whose value it has unless it is set.
    pub(super) follows: Option<&'static str>,
}

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At SIGHUP, for what begins from then on.
    Reload,
    /// At the next start.
    Restart,
}

impl Setting {
    /// Returns the section and the key.
    pub fn section_and_key(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or((self.path, ""))
    }
}

/// Declares a section of the settings.
///
/// A line is `reload|restart KEY: TYPE = DEFAULT, refuse BAD => WHY;`. `reload` settings change at
/// SIGHUP, so the server reads them from a [`Live`](super::Live) value; `restart` settings are read
/// once. `, follows KEY` behind the default makes another setting of the section the default.
/// `refuse` takes a predicate for values that the type allows and the server can't work with.
macro_rules! section {
    (
        $(#[$doc:meta])*
        pub struct $section:ident in $name:literal {
            $(
                $(#[$key_doc:meta])*
                $change:ident $key:ident: $type:ty = $default:expr
                    $(, follows $leader:ident)?
                    $(, refuse $bad:expr => $why:expr)*;
            )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $section {
            $(
                $(#[$key_doc])*
                #[serde(
                    deserialize_with = "crate::settings::value::read",
                    serialize_with = "crate::settings::value::write"
                )]
                pub $key: $type,
            )*
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }

        impl $section {
            pub(super) const SETTINGS: &'static [$crate::settings::section::Setting] = &[
                $($crate::settings::section::Setting {
                    path: concat!($name, ".", stringify!($key)),
                    change: $crate::settings::section::section!(@change $change),
                    takes_lists: <$type as $crate::settings::value::SettingValue>::TAKES_LISTS,
                    follows: $crate::settings::section::section!(@leader $name $($leader)?),
                }),*
            ];

            /// Returns the first value that the server can't work with: its path, and why not.
            pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
                $($(
                    let is_bad: fn(&$type) -> bool = $bad;
                    if is_bad(&self.$key) {
                        return Some((concat!($name, ".", stringify!($key)), $why));
                    }
                )*)*
                None
            }

            /// Takes over the values of the settings that change at SIGHUP.
            pub(super) fn take_reloadable(&mut self, wanted: &Self) {
                $($crate::settings::section::section!(@take $change self wanted $key);)*
            }

            /// Adds the paths of the settings whose values differ.
            pub(super) fn list_differences(&self, other: &Self, paths: &mut Vec<&'static str>) {
                $(
                    if self.$key != other.$key {
                        paths.push(concat!($name, ".", stringify!($key)));
                    }
                )*
            }
        }
    };
    (@change reload) => { $crate::settings::section::Change::Reload };
    (@change restart) => { $crate::settings::section::Change::Restart };
    (@leader $name:literal) => { None };
    (@leader $name:literal $leader:ident) => { Some(concat!($name, ".", stringify!($leader))) };
    (@take reload $self:ident $wanted:ident $key:ident) => {
        $self.$key.clone_from(&$wanted.$key)
    };
    (@take restart $self:ident $wanted:ident $key:ident) => { _ = &$wanted.$key };
}

/// Declares all settings: `KEY: SECTION` for each section.
macro_rules! sections {
    (
        $(#[$doc:meta])*
        pub struct $config:ident {
            $($(#[$section_doc:meta])* $name:ident: $section:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $config {
            $($(#[$section_doc])* pub $name: $section,)*
        }

        impl $config {
            /// Returns every setting, section by section.
            pub fn settings() -> impl Iterator<Item = &'static Setting> {
                [$(<$section>::SETTINGS),*].into_iter().flatten()
            }

            /// Returns the first value of a section that the server can't work with: its path, and
            /// why not.
            fn mistake_of_a_section(&self) -> Option<(&'static str, &'static str)> {
                None$(.or_else(|| self.$name.mistake()))*
            }

            /// Takes over the values of the settings that change at SIGHUP.
            fn take_reloadable(&mut self, wanted: &Self) {
                $(self.$name.take_reloadable(&wanted.$name);)*
            }

            /// Returns the paths of the settings whose values differ.
            fn differences(&self, other: &Self) -> Vec<&'static str> {
                let mut paths = Vec::new();
                $(self.$name.list_differences(&other.$name, &mut paths);)*
                paths
            }
        }
    };
}

pub(super) use {section, sections};
