"""What an evaluation found, for people and programs: the same content as Markdown, HTML, JSON and on the terminal."""
