"""Two builds side by side: a table of figures, their differences, and how these are shown."""
