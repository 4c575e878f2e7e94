/**
 * Text of a model as Markdown, where only its form is taken: links, images and markup stay text.
 * What is made of it still goes through DOMPurify, and the page's policy lets nothing else by.
 */
import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";
import { memo } from "./memo";
import { CodeBlock } from "./code-block";

const TAGS = [
  "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li",
  "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
]; // prettier-ignore

const asText = ({ raw }: { raw: string }) => escaped(raw);
const markdown = new Marked({
  gfm: true,
  breaks: true,
  renderer: { html: asText, link: asText, image: asText, checkbox: ({ checked }) => (checked ? "☑ " : "☐ ") },
  // Definitions of links would be seen nowhere.
  tokenizer: { def: () => undefined },
});

/** Only blocks that have changed are made anew: while an answer grows, that is its last one. */
export function Markdown({ text }: { text: string }) {
  return (
    <div class="prose">
      {markdown.lexer(text).map((token, index) => <Block key={index} raw={token.raw} token={token} />)}
    </div>
  );
}

const Block = memo(
  ({ token }: { raw: string; token: Token }) => {
    if (token.type === "space") return null;
    if (token.type === "code") {
      const { text, lang } = token as Tokens.Code;
      return <CodeBlock code={text} language={/^\w+/.exec(lang ?? "")?.[0] ?? ""} />;
    }
    const html = DOMPurify.sanitize(markdown.parser([token]), {
      ALLOWED_TAGS: TAGS,
      ALLOWED_ATTR: ["start", "align"],
      RETURN_TRUSTED_TYPE: true,
    });
    return <div class="prose-block" dangerouslySetInnerHTML={{ __html: html as unknown as string }} />;
  },
  (one, other) => one.raw === other.raw && one.token.type === other.token.type,
);

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
