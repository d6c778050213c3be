// Shows the steps of a build in one of BuildKit's forms. In the plain one each line begins with the
// number of its step, and the output of a command is shown as it comes, line by line.
import type { Finding, OnEvent, StepEvent } from '../../build/index.js';
import { printableLine } from '../../printable/index.js';
import { BuildScreen, type TerminalScreen } from './build-screen.js';
import type { Screen } from './layer-bars.js';
import { StepOutput } from './step-output.js';

interface BuildProgress {
  onEvent: OnEvent;
  /** Called once the build has ended, before anything else is written. */
  end(): void;
}

/**
 * @param form `tty`: steps that move, which is `plain` where there is no terminal; `plain`: lines for
 *   people; `rawjson`: the events, one JSON object a line
 */
export function openBuildProgress(
  form: 'tty' | 'plain' | 'rawjson' | 'none',
  screen: TerminalScreen = process.stderr,
): BuildProgress {
  if (form === 'none') return { onEvent() {}, end() {} };
  if (form === 'rawjson') return { onEvent: (event) => void screen.write(`${toJson(event)}\n`), end() {} };
  if (form === 'tty' && screen.isTTY && process.env.TERM !== 'dumb') return onTerminal(screen);
  return { onEvent: plain(screen), end() {} };
}

function onTerminal(screen: TerminalScreen): BuildProgress {
  const steps = new BuildScreen(screen);
  return {
    onEvent(event) {
      if (event.is === 'warning') steps.say(warning(event.message));
      else if (event.is === 'checked') steps.say(findingsSummary(event.findings));
      else steps.show(event);
    },
    end: () => steps.end(),
  };
}

function plain(screen: Screen): OnEvent {
  const running = new Map<number, { began: number; output: StepOutput }>();
  const say = (step: number, text: string) => screen.write(`#${step} ${text}\n`);
  return (event) => {
    if (event.is === 'warning') {
      screen.write(warning(event.message));
      return;
    }
    if (event.is === 'checked') {
      screen.write(findingsSummary(event.findings));
      return;
    }
    const { step } = event;
    const { began, output } = running.get(step) ?? { began: performance.now(), output: new StepOutput() };
    const tell = (lines: readonly string[]) => {
      const seconds = ((performance.now() - began) / 1000).toFixed(3);
      for (const line of lines) say(step, `${seconds} ${printableLine(line)}`);
    };
    if (event.is === 'begun') {
      running.set(step, { began, output });
      say(step, printableLine(event.name));
    } else if (event.is === 'output') {
      tell(output.take(event.stream, event.bytes));
    } else {
      tell(output.end());
      running.delete(step);
      if (event.is === 'cached') say(step, 'CACHED');
      else if (event.is === 'done') say(step, `DONE ${event.seconds.toFixed(1)}s`);
      else if (event.isCanceled) say(step, 'CANCELED');
      else say(step, `ERROR: ${printableLine(event.message)}`);
    }
  };
}

function warning(message: string): string {
  return `WARNING: ${printableLine(message)}\n`;
}

/** As Docker ends a build whose Dockerfile has faults. */
function findingsSummary(findings: readonly Finding[]): string {
  const count = `${findings.length} warning${findings.length === 1 ? '' : 's'} found`;
  const lines = findings.map(
    ({ rule, detail, place }) => ` - ${rule}: ${printableLine(detail)} (line ${place.line})\n`,
  );
  return `\n ${count} (use tsvm build --check to expand):\n${lines.join('')}`;
}

function toJson(event: StepEvent): string {
  return JSON.stringify(event.is === 'output' ? { ...event, bytes: event.bytes.toString('base64') } : event);
}
