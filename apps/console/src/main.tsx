import './strict-csp.ts'
import './styles/base.css'
import './styles/parts.css'
import './styles/shell.css'
import './styles/portal.css'
import './styles/session.css'
import './styles/admin.css'
import './styles/images.css'
import './styles/data.css'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { watchUse } from './api/attendance.ts'
import { App } from './app.tsx'

watchUse(window)

const root = document.getElementById('root')
if (root !== null) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  )
}
