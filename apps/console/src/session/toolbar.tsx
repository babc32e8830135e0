import { type KeyboardEvent, type ReactElement, useRef, useState } from 'react'
import { api } from '../api/api.ts'
import { Confirm } from '../ui/dialog.tsx'
import { Icon, type IconName } from '../ui/icons.tsx'
import { describe } from '../ui/message.tsx'
import { navigate } from '../ui/router.tsx'
import { ClipboardPanel } from './clipboard-panel.tsx'
import { qualityNames } from './quality.ts'
import { QualityPanel } from './quality-panel.tsx'
import { RestrictionsPanel } from './restrictions-panel.tsx'
import type { LinkState } from './screen-link.ts'
import { openKeyboard } from './soft-keyboard.ts'
import { useClipboard } from './use-clipboard.ts'
import { useFullscreen } from './use-fullscreen.ts'
import { useQuality } from './use-quality.ts'
import { useToolbarVisibility } from './use-toolbar-visibility.ts'

type Panel = 'quality' | 'clipboard' | 'restrictions'

/** Everything about the session that is not its picture. Hides by itself; Ctrl+Alt+Shift+M or the handle bring it. */
export function Toolbar(props: {
  readonly state: LinkState
  readonly onNotice: (text: string) => void
}): ReactElement {
  const { state, onNotice } = props
  const { viewer, session, conditions } = state
  const [panel, setPanel] = useState<Panel>()
  const [ending, setEnding] = useState(false)
  const bar = useRef<HTMLDivElement>(null)
  const { shown, toggle, hold, release } = useToolbarVisibility(bar, panel !== undefined || ending, back)
  const choice = useQuality(viewer, state.quality)
  const clipboard = useClipboard(state.phase === 'live' ? viewer : undefined, conditions, onNotice)
  const fullscreen = useFullscreen()
  const restrictions = conditions?.restrictions ?? []
  // Between it and its picture is no network that could be good or bad.
  const isHere = session?.endpoint !== undefined
  const touch = matchMedia('(pointer: coarse)').matches

  function back(): void {
    setPanel(undefined)
    toggle(false)
    viewer?.focus()
  }
  function onKeyDown(event: KeyboardEvent): void {
    // In the question that is open, it answers that.
    if (event.key === 'Escape' && !ending) back()
  }
  function end(): void {
    setEnding(false)
    api.endSession(session?.id ?? '').catch((error: unknown) => onNotice(describe(error).message))
  }
  const flip = (wanted: Panel) => () => setPanel(panel === wanted ? undefined : wanted)

  return (
    <div
      className={shown ? 'bar bar-shown' : 'bar'}
      ref={bar}
      onKeyDown={onKeyDown}
      onPointerEnter={hold}
      onPointerLeave={release}
    >
      <div className="bar-row" role="toolbar" aria-label="Session" inert={!shown}>
        <strong className="bar-name">{session?.workspace.name}</strong>
        {!isHere && (
          <BarButton
            icon="signal"
            label={`Connection: ${qualityNames[state.quality]}`}
            text={state.rttMs === undefined ? qualityNames[state.quality] : `${Math.round(state.rttMs)} ms`}
            className={`signal-${state.quality}`}
            expanded={panel === 'quality'}
            onClick={flip('quality')}
          />
        )}
        {restrictions.length > 0 && (
          <BarButton
            icon="lock"
            label={`Restrictions: ${restrictions.length}`}
            text={String(restrictions.length)}
            expanded={panel === 'restrictions'}
            onClick={flip('restrictions')}
          />
        )}
        <BarButton
          icon="clipboard"
          label="Clipboard"
          expanded={panel === 'clipboard'}
          onClick={flip('clipboard')}
        />
        {touch && (
          <BarButton icon="keyboard" label="Keyboard" onClick={() => viewer && openKeyboard(viewer)} />
        )}
        <BarButton
          icon={fullscreen.on ? 'windowed' : 'fullscreen'}
          label={fullscreen.on ? 'Leave full screen' : 'Full screen'}
          onClick={fullscreen.toggle}
        />
        <button
          type="button"
          className="bar-button"
          disabled={viewer === undefined}
          onClick={() => viewer?.sendCtrlAltDel()}
        >
          <span className="bar-text">Ctrl+Alt+Del</span>
        </button>
        <BarButton icon="leave" label="Disconnect" onClick={() => navigate('/')} />
        <BarButton icon="power" label="End session" onClick={() => setEnding(true)} />
      </div>
      <button
        type="button"
        className="bar-handle"
        aria-label="Session controls"
        aria-keyshortcuts="Control+Alt+Shift+M"
        title="Session controls (Ctrl+Alt+Shift+M)"
        aria-expanded={shown}
        onClick={() => (shown ? back() : toggle(true))}
      >
        <Icon name="chevron" />
      </button>
      {shown && panel === 'quality' && <QualityPanel state={state} choice={choice} />}
      {shown && panel === 'clipboard' && <ClipboardPanel clipboard={clipboard} conditions={conditions} />}
      {shown && panel === 'restrictions' && <RestrictionsPanel conditions={conditions} isHere={isHere} />}
      {ending && (
        <Confirm
          title={`End ${session?.workspace.name ?? 'the session'}?`}
          action="End session"
          onConfirm={end}
          onClose={() => setEnding(false)}
        >
          <p>Its programs close, and what was not saved is lost. To come back later, disconnect instead.</p>
        </Confirm>
      )}
    </div>
  )
}

function BarButton(props: {
  readonly icon: IconName
  readonly label: string
  readonly text?: string
  readonly className?: string
  readonly expanded?: boolean
  readonly onClick: () => void
}): ReactElement {
  return (
    <button
      type="button"
      className={`bar-button ${props.className ?? ''}`}
      aria-label={props.label}
      title={props.label}
      aria-expanded={props.expanded}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
      {props.text !== undefined && <span className="bar-text">{props.text}</span>}
    </button>
  )
}
