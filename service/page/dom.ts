// Elements of the page. What jobs, images and tenants say is text in them, never markup.
import { escapedText } from '../../printable/index.js';

type Child = Node | string | undefined;
type Attributes = Record<string, string | undefined>;

function fill<T extends Element>(element: T, attributes: Attributes, children: readonly Child[]): T {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** An attribute that is undefined is absent. */
export function html<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(name), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

export function button(text: string, onClick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const made = html('button', { type: 'button', ...attributes }, text);
  made.addEventListener('click', onClick);
  return made;
}

/**
 * What a tenant says, in one run of text: it changes the direction of nothing around it, and
 * harmful characters are escapes.
 */
export function said(text: string): HTMLElement {
  return html('bdi', {}, escapedText(text));
}

/** As `said`, for words of programs. */
export function code(text: string): HTMLElement {
  return html('code', {}, said(text));
}

/** A select with its label. */
export function choice<T extends string>(
  label: string,
  { words, value, onChange }: { words: readonly (readonly [T, string])[]; value: T; onChange: (value: T) => void },
): HTMLLabelElement {
  const options = words.map(([word, text]) => html('option', { value: word }, text));
  const select = html('select', {}, ...options);
  select.value = value;
  select.addEventListener('change', () => onChange(words[select.selectedIndex]?.[0] ?? value));
  return html('label', { class: 'field' }, label, select);
}
