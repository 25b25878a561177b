//! Push services as ready-made webhooks. Each is a request that its own documentation describes.
//!
//! A preset fills in what the admin left open; every key of a webhook can still be written and then wins.

use super::settings::Webhook;

/// A ready-made webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The keys that the admin must write under `fields`.
    pub fields: &'static [&'static str],
    /// What `url` is, for the documentation.
    pub url: &'static str,
    body: &'static str,
    max_text: Option<usize>,
}

/// All of them.
pub const PRESETS: [Preset; 6] = [NTFY, SLACK, DISCORD, TEAMS, TELEGRAM, PUSHOVER];

/// ntfy, "publish as JSON" (<https://docs.ntfy.sh/publish/#publish-as-json>). Messages over 4,096 bytes become
/// attachments there.
const NTFY: Preset = Preset {
    name: "ntfy",
    fields: &["topic"],
    url: "the server's address, such as https://ntfy.sh/",
    body: r#"{"topic": {{ fields.topic }}, "title": {{ subject }}, "message": {{ text }},
 "priority": {{ {"info": 2, "notice": 3, "warning": 4, "error": 5}[severity] }}, "tags": ["vm-autoscale", {{ severity }}]}"#,
    max_text: Some(1_300),
};

/// Slack's incoming webhooks, also taken by Mattermost and Rocket.Chat
/// (<https://docs.slack.dev/messaging/formatting-message-text>): `&`, `<` and `>` start mentions such as `<!channel>` and
/// must be escaped.
const SLACK: Preset = Preset {
    name: "slack",
    fields: &[],
    url: "the address of the incoming webhook",
    body: r#"{"text": {{ (subject ~ "\n\n" ~ text)|replace("&", "&amp;")|replace("<", "&lt;")|replace(">", "&gt;") }}}"#,
    max_text: Some(4_000),
};

/// Discord, "execute webhook" (<https://docs.discord.com/developers/resources/webhook#execute-webhook>): at most 2,000
/// characters with the subject, nobody is mentioned and
/// no text becomes a link, whatever a VM is called.
const DISCORD: Preset = Preset {
    name: "discord",
    fields: &[],
    url: "the address of the webhook",
    body: r#"{"content": {{ (subject ~ "\n\n" ~ text)|replace("](", "] (") }}, "allowed_mentions": {"parse": []}}"#,
    max_text: Some(1_800),
};

/// Microsoft Teams, a workflow that posts an adaptive card
/// (<https://adaptivecards.io/explorer/RichTextBlock.html>): unlike a TextBlock it knows no Markdown.
const TEAMS: Preset = Preset {
    name: "teams",
    fields: &[],
    url: "the address of the workflow",
    body: r#"{"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive",
 "content": {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
 "body": [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "weight": "bolder", "text": {{ subject }}}]},
 {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": {{ text }}}]}]}}]}"#,
    max_text: Some(20_000),
};

/// Telegram's bot API, `sendMessage` (<https://core.telegram.org/bots/api#sendmessage>): at most 4,096 characters with the subject, and
/// without `parse_mode` the text is plain.
const TELEGRAM: Preset = Preset {
    name: "telegram",
    fields: &["chat_id"],
    url: "https://api.telegram.org/botTOKEN/sendMessage",
    body: r#"{"chat_id": {{ fields.chat_id }}, "text": {{ subject ~ "\n\n" ~ text }}, "link_preview_options": {"is_disabled": true}}"#,
    max_text: Some(3_900),
};

/// Pushover (<https://pushover.net/api>): at most 1,024 characters of text and 250 of title; priority 1 breaks through
/// quiet hours.
const PUSHOVER: Preset = Preset {
    name: "pushover",
    fields: &["token", "user"],
    url: "https://api.pushover.net/1/messages.json",
    body: r#"{"token": {{ fields.token }}, "user": {{ fields.user }}, "title": {{ subject }}, "message": {{ text }},
 "priority": {{ {"info": -1, "notice": 0, "warning": 0, "error": 1}[severity] }}}"#,
    max_text: Some(1_024),
};

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Fills in what `webhook` leaves open.
    pub fn fill(&self, webhook: &mut Webhook) {
        webhook.body.get_or_insert_with(|| self.body.to_owned());
        webhook.max_text = webhook.max_text.or(self.max_text);
    }
}

#[cfg(test)]
mod tests;
