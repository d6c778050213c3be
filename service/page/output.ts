// The output of a job, as it arrives. The page holds the newest part of it.
import { type Api, ApiError, type Job } from './api.js';
import { html } from './dom.js';
import { outputText } from './text.js';

/** Elements and characters of the output that the page holds. */
const MAX_PIECES = 2000;
const MAX_CHARACTERS = 2 ** 20;
/** Milliseconds until a broken connection is opened again, at first and at most. */
const PAUSE = 500;
const MAX_PAUSE = 10_000;
/** Pixels from the end at which the output still follows. */
const NEAR = 40;
/** Statuses of answers that may be others later. */
const LATER: readonly number[] = [429, 500, 502, 503, 504];

export class Output {
  readonly element = html('pre', { class: 'output', tabindex: '0', role: 'log', 'aria-label': 'Output' });
  readonly state = html('span', { class: 'soft', role: 'status' });
  readonly #waiting: HTMLElement[] = [];
  #characters = 0;

  /** Follows the output until the job has ended. Resolves to the job, or undefined if `signal` is aborted. */
  async follow(api: Api, id: string, signal: AbortSignal): Promise<Job | undefined> {
    let last: string | undefined;
    for (let pause = PAUSE; !signal.aborted; pause = Math.min(2 * pause, MAX_PAUSE)) {
      try {
        this.state.textContent = 'connecting';
        for await (const events of api.events(id, last, signal)) {
          this.state.textContent = 'live';
          for (const { event, data, id: place } of events) {
            if (event === 'end') {
              this.state.textContent = '';
              return JSON.parse(data) as Job;
            }
            this.#take(event, data);
            last = place ?? last;
            pause = PAUSE;
          }
        }
      } catch (error) {
        if (signal.aborted) return undefined;
        if (error instanceof ApiError && !LATER.includes(error.status)) throw error;
      }
      this.state.textContent = 'the connection broke off; it is opened again';
      await wait(pause, signal);
    }
    return undefined;
  }

  #take(event: string | undefined, data: string): void {
    if (event === 'run') {
      const { run } = JSON.parse(data) as { run: number };
      this.#add('note', `run ${run}\n`);
    } else if (event === 'gap') {
      const { bytes } = JSON.parse(data) as { bytes: number };
      this.#add('note', `${bytes} bytes are not kept\n`);
    } else if (event === undefined) {
      const { stream, log } = JSON.parse(data) as { stream: string; log: string };
      this.#add(stream === 'stderr' ? 'stderr' : 'stdout', outputText(log));
    }
  }

  /** The page is changed once for each frame, however much arrives. */
  #add(kind: string, text: string): void {
    if (this.#waiting.length === 0) requestAnimationFrame(() => this.#flush());
    this.#waiting.push(html('span', { class: kind }, text));
    // A page that is not shown has no frames.
    if (this.#waiting.length > MAX_PIECES) this.#waiting.shift();
  }

  #flush(): void {
    const { element } = this;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
    const pieces = this.#waiting.splice(0);
    for (const { textContent } of pieces) this.#characters += textContent.length;
    element.append(...pieces);
    while (element.childElementCount > MAX_PIECES || this.#characters > MAX_CHARACTERS) {
      const first = element.firstElementChild;
      if (first === null) break;
      this.#characters -= first.textContent.length;
      first.remove();
    }
    if (isAtEnd) element.scrollTop = element.scrollHeight;
  }
}

export function wait(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    const end = () => {
      clearTimeout(timer);
      resolve();
    };
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}
