"""Who watches calls: the book, what is read along, and how it is told in words."""
