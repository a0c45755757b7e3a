'use strict';
(() => {
  const tip = document.getElementById('tip');
  const body = document.body;
  body.classList.add('live');

  for (const slider of document.querySelectorAll('.slider')) {
    const input = slider.querySelector(':scope > input');
    const output = slider.querySelector(':scope > label > output');
    const frames = slider.querySelectorAll(':scope > .frame');
    input.addEventListener('input', () => {
      frames.forEach((frame, i) => frame.classList.toggle('on', i === +input.value));
      output.textContent = frames[+input.value].dataset.label;
      input.setAttribute('aria-valuetext', output.textContent);
    });
  }

  const hide = () => { tip.hidden = true; };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + 'px';
    tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18) + 'px';
  };

  // The numbers of a map are unpacked when somebody looks at it.
  const unpacked = new WeakMap();
  const cellText = (svg, row, column) => {
    const d = svg.dataset;
    if (!unpacked.has(svg)) {
      const bytes = Uint8Array.from(atob(d.values), c => c.charCodeAt(0));
      unpacked.set(svg, new DataView(bytes.buffer));
    }
    const code = unpacked.get(svg).getUint16(2 * (row * d.columns + column), true);
    if (code === 65535) return 'no value';
    const value = +d.start + code / 65534 * (d.end - d.start);
    return String(+value.toPrecision(4)) + '\nrow ' + row + ', column ' + column;
  };

  body.addEventListener('pointermove', event => {
    const svg = event.target.closest('svg[data-values]');
    const named = event.target.closest('[data-text]');
    if (svg) {
      const box = svg.getBoundingClientRect();
      const at = (part, count) => Math.max(0, Math.min(count - 1, Math.floor(part * count)));
      const row = at((event.clientY - box.top) / box.height, +svg.dataset.rows);
      const column = at((event.clientX - box.left) / box.width, +svg.dataset.columns);
      show(cellText(svg, row, column), event.clientX, event.clientY);
    } else if (named) {
      show(named.dataset.text, event.clientX, event.clientY);
    } else {
      hide();
    }
  });
  addEventListener('scroll', hide, true);

  // On the keyboard the arrows go through the marks of a picture, or the cells of a map.
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const stepMark = (svg, step) => {
    const marks = [...svg.querySelectorAll('.mark[data-text]')];
    if (!marks.length) return;
    const before = marks.findIndex(mark => mark.classList.contains('now'));
    const next = before < 0 ? 0 : (before + step[0] + step[1] + marks.length) % marks.length;
    if (before >= 0) marks[before].classList.remove('now');
    marks[next].classList.add('now');
    const box = marks[next].getBoundingClientRect();
    show(marks[next].dataset.text, box.right, box.bottom);
  };
  const stepCell = (svg, step) => {
    const rows = +svg.dataset.rows, columns = +svg.dataset.columns;
    let frame = svg.querySelector('.cell');
    if (!frame) {
      frame = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
      frame.setAttribute('class', 'cell');
      svg.append(frame);
      svg.at = [Math.floor(rows / 2), Math.floor(columns / 2)];
    } else {
      svg.at = [(svg.at[0] + step[0] + rows) % rows, (svg.at[1] + step[1] + columns) % columns];
    }
    const view = svg.viewBox.baseVal;
    frame.setAttribute('x', svg.at[1] * view.width / columns);
    frame.setAttribute('y', svg.at[0] * view.height / rows);
    frame.setAttribute('width', view.width / columns);
    frame.setAttribute('height', view.height / rows);
    const box = frame.getBoundingClientRect();
    show(cellText(svg, ...svg.at), box.right, box.bottom);
  };
  body.addEventListener('keydown', event => {
    const svg = event.target.closest('figure > svg');
    if (event.key === 'Escape') hide();
    if (!svg || !(event.key in steps)) return;
    event.preventDefault();
    (svg.dataset.values ? stepCell : stepMark)(svg, steps[event.key]);
  });
  body.addEventListener('focusout', event => {
    hide();
    const svg = event.target.closest('figure > svg');
    if (!svg) return;
    svg.querySelectorAll('.cell').forEach(cell => cell.remove());
    svg.querySelectorAll('.now').forEach(mark => mark.classList.remove('now'));
  });
})();
